"""A segmented image in memory: what `wsinuc.segment_image` returns."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsinuc.exports.pictures.overlay import draw_outlines
from wsinuc.nuclei import Nuclei
from wsinuc.results import frames
from wsinuc.results.html import facts_table, inline_picture, per_mm2
from wsinuc.urls import PathLike

if TYPE_CHECKING:
    import pyarrow as pa
    from geopandas import GeoDataFrame
    from pandas import DataFrame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SegmentedImage:
    """The nuclei of an image; made by `wsinuc.segment_image`. ``len`` is their number.

    Examples
    --------
    >>> import numpy as np
    >>> import wsinuc
    >>> glass = np.full((64, 64, 3), 240, np.uint8)
    >>> segmented = wsinuc.segment_image(glass, mpp=0.25, model="student", device="cpu")
    >>> segmented
    <wsinuc.SegmentedImage: 0 nuclei in 64 x 64 px of 0.25 um>
    >>> isinstance(segmented, wsinuc.SegmentedImage), len(segmented), segmented.labels.shape
    (True, 0, (64, 64))
    """

    image: NDArray[np.uint8]
    """RGB, uint8 ``(h, w, 3)``: what was segmented."""
    mpp: float
    """um per pixel of the image."""
    labels: NDArray[np.int32]
    """int32 ``(h, w)``: the id of the nucleus at each pixel of the image, 0 is background."""
    nuclei: Nuclei
    """The table as arrays, ids 1 to N. Outlines and centroids are in pixels of the model's resolution, see
    ``nuclei.frame``; the tables below have both."""

    def __len__(self) -> int:
        return len(self.nuclei)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"<wsinuc.SegmentedImage: {len(self):,} nuclei in {height} x {width} px of {self.mpp:g} um>"

    @property
    def mm2(self) -> float:
        """Area of the image in mm2, glass included."""
        return float(self.labels.size) * (self.mpp / 1000) ** 2

    @property
    def counts(self) -> dict[str, int]:
        """Nuclei per class."""
        counts = Counter(self.nuclei.classes.tolist())
        return {name: counts[index] for index, name in enumerate(self.nuclei.class_names)}

    def to_arrow(self) -> pa.Table:
        """The table with the columns of `wsinuc.nuclei.columns`, those of a result but for ``uuid``.

        ``x`` and ``y`` are in pixels of the image.
        """
        from wsinuc.nuclei.columns import to_arrow

        return to_arrow(self.nuclei)

    def to_pandas(self) -> DataFrame:
        """Numbers and texts of the table, one row per nucleus; needs pandas.

        Raises
        ------
        ConfigError
            Pandas is not installed.
        """
        return frames.to_pandas(self.to_arrow())

    def to_geopandas(self) -> GeoDataFrame:
        """The table with outlines as polygons in pixels of the image, (x, y); needs geopandas.

        Raises
        ------
        ConfigError
            Geopandas is not installed.
        """
        return frames.to_geopandas(self.to_arrow())

    def to_geojson(self, path: PathLike) -> None:
        """Write the nuclei as detections for QuPath, in pixels of the image.

        Parameters
        ----------
        path
            ``.geojson``, ``.geojson.gz`` or ``.zip``.

        Raises
        ------
        OutputError
            The suffix is none of these, or the file cannot be written.
        """
        from wsinuc.exports.qupath.geojson import write_geojson

        # The same nuclei have the same UUIDs, however often they are written.
        run_id = hashlib.sha256(self.labels.tobytes()).hexdigest()[:16]
        write_geojson([self.nuclei], path, run_id=run_id)

    def overlay(self) -> NDArray[np.uint8]:
        """The image with the outlines of its nuclei in the colours of their classes, for ``plt.imshow``.

        Returns
        -------
        NDArray
            RGB, uint8 ``(h, w, 3)``.
        """
        nuclei = self.nuclei
        y, x = nuclei.frame.downsample
        colors = np.asarray(nuclei.class_colors, np.uint8).reshape(-1, 3)
        return draw_outlines(self.image, nuclei.outlines, nuclei.offsets, colors[nuclei.classes], scale=(y, x))

    def _repr_html_(self) -> str:
        """What a notebook shows: counts, and the image with outlines."""
        from PIL import Image

        facts = {name: f"{count:,}" for name, count in self.counts.items()}
        facts["per mm²"] = per_mm2(len(self), self.mm2)
        return facts_table(f"{len(self):,} nuclei", facts) + inline_picture(Image.fromarray(self.overlay()))
