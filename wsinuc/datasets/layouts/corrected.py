"""A result that was corrected in QuPath: the folder of the result, and the GeoJSON that was exported again.

Nuclei are known by the UUIDs that the result's GeoJSON gave them. `wsinuc.datasets.corrections` says what was changed,
and in which regions the corrected result is the truth; those are images as in the layout ``qupath``. Pixels come from
the slide, which lies where the result says or beside the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsinuc.datasets.corrections.correction import Correction, correct
from wsinuc.datasets.corrections.detections import read_detections
from wsinuc.datasets.corrections.returned import read_returned
from wsinuc.datasets.layouts.qupath import AnnotatedSlide, QuPathLayout, slide_header
from wsinuc.datasets.layouts.qupath_files import AnnotatedFile
from wsinuc.errors import DataError, MppError
from wsinuc.grid import Box
from wsinuc.store.manifest import read_made
from wsinuc.store.outputs import SUMMARY
from wsinuc.urls import to_place

SUFFIX = ".wsinuc"
"""Ending of the folder of a result."""


class CorrectedLayout(QuPathLayout):
    """A corrected result; attributes ``slide`` and ``region``."""

    name = "corrected"
    expected = "slide.wsinuc=corrected.geojson: a result, and its nuclei as they were corrected in QuPath"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and (path / SUMMARY).is_file() and (path / "nuclei").is_dir()

    def _open_slides(self, annotations: Path | None, regions: str) -> list[AnnotatedSlide]:
        if annotations is None:
            raise DataError(
                f"{self.path} is a result, and what a model found is no annotation: correct it in QuPath, export it "
                f"again (File, Export objects as GeoJSON), and give {self.path.name}=corrected.geojson"
            )
        file = AnnotatedFile(slide=slide_of(self.path), annotations=annotations)
        header = slide_header(file.slide)
        recorded = header.mpp or _given_mpp(self.path)
        known = self._known(recorded)
        if known is None:
            raise MppError(f"the resolution of {file.slide} is not recorded; give it with --mpp")
        detections = read_detections(self.path, header.origin_yx)
        returned = read_returned(annotations, detections, regions=regions, mpp=known)
        extent = Box.of_shape(header.shape).shift(-header.origin_yx[0], -header.origin_yx[1])
        self._correction = correct(returned, detections, extent=extent, mpp=known)
        return [header.annotated(file, self._correction.drawing, mpp=recorded)]

    def unlabelled(self) -> str:
        return (
            f"{self.path}: no nucleus is left around what was changed ({self._correction.changes}), so nothing can be "
            "learned there but background: draw an area of class Region* around all that you have checked"
        )

    def _notes_on_files(self) -> tuple[str, ...]:
        return correction_notes(self._correction, regions=len(self._correction.drawing.regions))


def correction_notes(correction: Correction, *, regions: int) -> tuple[str, ...]:
    """What was changed, and what counts as the truth, for people."""
    changed = f"corrections of nuclei: {correction.changes}"
    if correction.chosen:
        where = f"the regions that were drawn ({regions:,}) are the truth, with {correction.kept:,} nuclei as they were"
        if correction.unused:
            where += f"; {correction.unused:,} changes lie outside of them and are not used"
        return changed, where
    return changed, (
        f"no region was drawn, so the surroundings of what was changed ({regions:,} regions) are the truth, with "
        f"{correction.kept:,} nuclei as they were; draw areas of class Region* around all that you have checked, to "
        "use it and to measure fairly: these regions lie where the model was wrong"
    )


def slide_of(result: Path) -> Path:
    """The slide of a result: where the result says, or of the same name beside the result; raises DataError."""
    noted = to_place(str(read_made(result).content.get("slide", "")))
    candidates = [result.resolve().parent / noted.name]
    if isinstance(noted, Path):
        candidates.insert(0, noted)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise DataError(
        f"the slide of {result} is not at {noted}, nor beside the result: put {noted.name} into the folder of the "
        "result, whose pixels are needed"
    )


def _given_mpp(result: Path) -> float | None:
    """um per pixel that the user gave for the run; None without."""
    config: dict[str, Any] = read_made(result).content.get("config", {})
    return config.get("mpp")
