"""A result that was corrected in QuPath: the folder of the result, and the GeoJSON that was exported again.

Nuclei are known by the UUIDs that the result's GeoJSON gave them. `wsinuc.datasets.corrections` says what was changed,
and in which regions the corrected result is the truth; those are images as in the layout ``qupath``, whose tables may
name results in place of slides.
"""

from __future__ import annotations

from pathlib import Path

from wsinuc.datasets.layouts.qupath import QuPathLayout
from wsinuc.datasets.layouts.qupath_files import is_result
from wsinuc.datasets.layouts.qupath_objects import REGION
from wsinuc.errors import DataError


class CorrectedLayout(QuPathLayout):
    """A corrected result; attributes ``slide`` and ``region``."""

    name = "corrected"
    expected = "slide.wsinuc=corrected.geojson: a result, and its nuclei as they were corrected in QuPath"

    def __init__(
        self,
        path: Path,
        *,
        annotations: Path | None = None,
        regions: str = REGION,
        mpp: float | None = None,
        otherwise: float | None = None,
    ) -> None:
        if annotations is None:
            raise DataError(
                f"{path} is a result, and what a model found is no annotation: correct it in QuPath, export it again "
                f"(File, Export objects as GeoJSON), and give {path.name}=corrected.geojson"
            )
        super().__init__(path, annotations=annotations, regions=regions, mpp=mpp, otherwise=otherwise)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return is_result(path)

    def unlabelled(self) -> str:
        return (
            f"{self.path}: no nucleus is left where it was corrected ({self.notes[0]}), so nothing can be learned "
            "there but background: draw an area of class Region* around all that you have checked"
        )
