"""``wsinuc.read``: one line from the folder of a result to Arrow, geopandas, AnnData, SpatialData or Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError, OutputError, SlideError
from wsinuc.exports.formats.write import finished
from wsinuc.exports.ome_zarr.metadata import SEMANTIC
from wsinuc.exports.pictures.overlay import draw_labels
from wsinuc.grid import Box, check_box
from wsinuc.nuclei import Nuclei
from wsinuc.results import frames
from wsinuc.results.html import facts_table, inline_picture, per_mm2
from wsinuc.slides import open_slide
from wsinuc.slides.base import Slide
from wsinuc.store import iter_nuclei, iter_tables
from wsinuc.store.manifest import read_made
from wsinuc.urls import Place, PlaceLike, to_place

if TYPE_CHECKING:
    import pyarrow as pa
    from anndata import AnnData
    from dask.array import Array
    from geopandas import GeoDataFrame
    from pandas import DataFrame
    from spatialdata import SpatialData

    from wsinuc.workflows.view.notebook import NotebookView

LABELS = "labels.ome.zarr/labels"
"""Where a result has its label images."""
MOST_PIXELS = 2**26
"""Largest picture that `Result.overlay` draws: 8,192 x 8,192 pixels."""
_RIM = 64
"""Pixels around a picture in which outlines are traced, so that none runs along its edge."""


def read(result: PlaceLike, *, slide: PlaceLike | None = None) -> Result:
    """A finished result as an object; its files are read when something of them is asked for.

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``).
    slide
        The slide, when it has moved since.

    Returns
    -------
    Result
        Tables, label images, overlays and the slide; ``len`` is the number of nuclei.

    Raises
    ------
    DamageError, OutputError
        The result is none, is damaged by the names and sizes of its files, or lies at a URL.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, wsinuc.SegmentConfig(mpp=0.499, model="student"))
    >>> result = wsinuc.read(out)
    >>> nuclei = result.nuclei()
    >>> nuclei.num_rows == len(result) == summary.nuclei
    True
    >>> nuclei.select(["id", "uuid", "y_um", "x_um"]).column_names
    ['id', 'uuid', 'y_um', 'x_um']
    >>> result.slide.level_shapes[0]
    (240, 240)
    """
    return Result(finished(result), None if slide is None else to_place(slide))


@dataclass(frozen=True)
class Result:
    """A finished result; made by `wsinuc.read`.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> out = tempfile.mkdtemp() + "/field.wsinuc"
    >>> summary = wsinuc.segment_slide("examples/data/field.png", out, wsinuc.SegmentConfig(mpp=0.499, model="student"))
    >>> result = wsinuc.read(out)
    >>> isinstance(result, wsinuc.Result), result.summary["nuclei"] == len(result)
    (True, True)
    >>> result.labels.shape, int(result.labels.max().compute()) == len(result)
    ((479, 479), True)
    """

    folder: Path
    """The directory of the result."""
    slide_place: Place | None = None
    """The slide; None takes the path that the result has noted."""

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """What ``summary.json`` says: counts, areas, times, settings and versions."""
        return read_made(self.folder).content

    def __len__(self) -> int:
        """Number of nuclei."""
        return int(self.summary.get("nuclei") or 0)

    def __repr__(self) -> str:
        return f"<wsinuc.Result {self.folder}: {len(self):,} nuclei>"

    def __fspath__(self) -> str:
        """The directory, so that whatever takes the path of a result takes the result itself."""
        return str(self.folder)

    @property
    def mpp(self) -> float:
        """um per pixel of the label images."""
        return float(self.summary["settings"]["mpp"])

    @property
    def counts(self) -> dict[str, int]:
        """Nuclei per class."""
        return dict(self.summary["counts"])

    def nuclei(self) -> pa.Table:
        """The whole table as Arrow, with the columns of `wsinuc.nuclei.columns`; about 1 kB per nucleus.

        `iter_tables` gives it part by part.

        Raises
        ------
        DamageError
            A part is not what was written.
        """
        import pyarrow as pa

        return pa.concat_tables(self.iter_tables())

    def iter_tables(self) -> Iterator[pa.Table]:
        """Parts of the table as Arrow, in the order of ids."""
        return iter_tables(self.folder)

    def iter_nuclei(self) -> Iterator[Nuclei]:
        """Parts of the table as `wsinuc.Nuclei`, with outlines in view pixels, in the order of ids."""
        return iter_nuclei(self.folder)

    def to_pandas(self) -> DataFrame:
        """Numbers and texts of the table, one row per nucleus; needs pandas.

        Raises
        ------
        ConfigError
            Pandas is not installed.
        """
        return frames.to_pandas(self.nuclei())

    def to_geopandas(self) -> GeoDataFrame:
        """The table as a GeoDataFrame of polygons in level-0 pixels, (x, y); needs geopandas.

        Raises
        ------
        ConfigError
            Geopandas is not installed.
        """
        return frames.to_geopandas(self.nuclei())

    def to_anndata(self, **options: Any) -> AnnData:
        """The table as AnnData; needs anndata.

        Parameters
        ----------
        **options
            Those of `wsinuc.exports.scverse.table.to_anndata`.

        Raises
        ------
        ConfigError
            Anndata is not installed.
        """
        from wsinuc.exports.scverse.table import to_anndata

        return to_anndata(self.folder, **options)

    def to_spatialdata(self, **options: Any) -> SpatialData:
        """Table, shapes and images as SpatialData; needs spatialdata.

        Parameters
        ----------
        **options
            Those of `wsinuc.exports.scverse.spatial.to_spatialdata`.

        Raises
        ------
        ConfigError
            Spatialdata is not installed.
        """
        from wsinuc.exports.scverse.spatial import to_spatialdata

        return to_spatialdata(self.folder, **options)

    def view(self, *, height: int = 640) -> NotebookView:
        """The result over its slide, as ``wsinuc view`` shows it, in a cell of a notebook; needs bokeh.

        Parameters
        ----------
        height
            Pixels of the frame.

        Returns
        -------
        NotebookView
            Has the address (``url``), for a tab of its own, and ``stop()``.

        Raises
        ------
        ConfigError
            Bokeh is not installed.
        """
        # Above this package: the viewer learns and counts with the workflows.
        from wsinuc.workflows.view.notebook import view_in_notebook

        slide = self.slide_place if isinstance(self.slide_place, Path) else None
        return view_in_notebook(self.folder, slide, height=height)

    @property
    def labels(self) -> Array:
        """Ids of the nuclei at each pixel of the view as a Dask array, uint32 ``(height, width)``; 0 is background."""
        return self._image("nuclei")

    @property
    def class_labels(self) -> Array:
        """Classes at each pixel of the view, uint8 ``(height, width)``: 1 + index of the class, 0 is background."""
        return self._image("nuclei_class")

    @property
    def semantic(self) -> Array:
        """Classes of pixels before nuclei are separated, uint8 ``(height, width)``: 1 + index, 0 is background.

        Raises
        ------
        OutputError
            The result was made without ``--semantic``.
        """
        if not (self.folder / LABELS / SEMANTIC).is_dir():
            raise OutputError(f"{self.folder} has no classes of pixels: segment the slide with --semantic")
        return self._image(SEMANTIC)

    def overlay(self, box: Box) -> NDArray[np.uint8]:
        """A part of the slide with the outlines of its nuclei in the colours of their classes, for ``plt.imshow``.

        Parameters
        ----------
        box
            In pixels of the label images, whose resolution is `mpp`; at most `MOST_PIXELS` of them. What lies beyond
            the slide is white.

        Returns
        -------
        NDArray
            RGB, uint8 ``(h, w, 3)``.

        Raises
        ------
        ConfigError
            It is no box, or too large.
        SlideError
            The slide is not where it was, or cannot be decoded there.
        """
        check_box(box)
        height, width = box.shape
        if height * width > MOST_PIXELS:
            raise ConfigError(f"a picture has at most {MOST_PIXELS:,} pixels, got {height} x {width}: show parts of it")
        pixels = self.slide.at(self.mpp).read(box)
        extent = Box.of_shape(self.labels.shape)
        if not box.overlaps(extent):
            return pixels
        around = box.grow(_RIM).clip(extent)
        labels = np.asarray(self.labels[around.slices])
        classes = np.asarray(self.class_labels[around.slices])
        return draw_labels(pixels, box, labels, classes, around, self._class_colors)

    def _repr_html_(self) -> str:
        """What a notebook shows: counts, and the preview."""
        from PIL import Image

        area = self.summary.get("tissue_mm2")
        facts = {name: f"{count:,}" for name, count in self.counts.items()}
        facts["tissue, mm²"] = f"{area or 0.0:.2f}"
        facts["per mm² of tissue"] = per_mm2(len(self), area)
        text = facts_table(f"{self.folder.name}: {len(self):,} nuclei", facts)
        preview = self.folder / "preview.png"
        if not preview.is_file():
            return text
        with Image.open(preview) as picture:
            return text + inline_picture(picture)

    @cached_property
    def slide(self) -> Slide:
        """The slide, opened as the run did.

        Raises
        ------
        SlideError
            It is not where it was.
        """
        config = self.summary.get("config", {})
        place = self.slide_place or to_place(str(self.summary.get("slide")))
        try:
            return open_slide(place, reader=config.get("reader", "auto"), mpp=config.get("mpp"))
        except SlideError as error:
            if isinstance(place, Path) and place.exists():
                raise
            raise SlideError(
                f"the slide of {self.folder} is not where it was ({error}): say where it is with "
                "wsinuc.read(..., slide=...)"
            ) from error

    @cached_property
    def _class_colors(self) -> NDArray[np.uint8]:
        """RGB ``(classes, 3)``."""
        first = next(self.iter_nuclei())
        return np.asarray(first.class_colors, np.uint8).reshape(-1, 3)

    def _image(self, name: str) -> Array:
        import dask.array

        # Dask has no types.
        read: Callable[..., Array] = dask.array.from_zarr
        return read(str(self.folder / LABELS / name), component="0")
