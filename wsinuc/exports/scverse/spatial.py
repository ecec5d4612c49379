"""A result as SpatialData: polygons, label image and table of its nuclei, linked by the nuclei's ids.

============================  =====================================================================
``shapes["nuclei"]``          outlines as polygons in level-0 pixels, their index the ids
``labels["nuclei_labels"]``   ids at each pixel, as a pyramid at the resolution that the model read
``labels["semantic"]``        classes of pixels, where the result holds them (``--semantic``)
``images["slide"]``           the slide's pixels, where the result holds them
``tables["table"]``           measurements (``table``); annotates the shapes, by the column ``id``
============================  =====================================================================

Every element lies in two coordinate systems: ``global`` counts pixels of the slide's level 0 from the
corner of its full extent, and ``um`` counts micrometres from there. A slide without nuclei has its
images alone, because SpatialData knows no empty shapes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsinuc.exports.atomic import appearing
from wsinuc.exports.extras import quiet, require
from wsinuc.exports.scverse.rasters import Pyramid, copy_pixels, lazy_image, pyramids, stand_in
from wsinuc.exports.scverse.table import NEIGHBOURS_UM, build_table, check_reach
from wsinuc.exports.scverse.whole import WholeResult, read_whole
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.urls import PathLike, to_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

LEVEL0 = "global"
"""Coordinate system of level-0 pixels: the one that SpatialData's functions take unless told otherwise."""
UM = "um"
"""Coordinate system of micrometres."""
SHAPES = "nuclei"
TABLE = "table"
"""The name that squidpy and spatialdata-plot look for by themselves."""


def to_spatialdata(result: PathLike, *, neighbours_um: float = NEIGHBOURS_UM) -> SpatialData:
    """A finished result as SpatialData; nuclei are in memory, images are read from the result as they are needed.

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``).
    neighbours_um
        Longest distance of two neighbours in um, greater than 0, see `wsinuc.exports.scverse.table`.

    Raises
    ------
    ConfigError
        The package spatialdata is not installed, or ``neighbours_um`` is out of range.
    DamageError, OutputError, DataError
        The result cannot be read.
    """
    spatialdata = require("spatialdata", "spatialdata", "SpatialData")
    check_reach(neighbours_um)
    whole = read_whole(result)
    images = pyramids(whole.folder, has_image=whole.has_image)
    return spatialdata.SpatialData(**_elements(whole, images, lazy_image, neighbours_um))


def write_spatialdata(result: PathLike, out: PathLike, *, neighbours_um: float = NEIGHBOURS_UM) -> None:
    """Write a finished result as a SpatialData store, a folder that `spatialdata.read_zarr` opens.

    Parameters
    ----------
    result, neighbours_um
        As `to_spatialdata` takes them.
    out
        The folder, usually called ``<slide>.zarr``; it must not exist.

    Raises
    ------
    OutputError
        ``out`` is there already or cannot be written.
    ConfigError, DamageError, DataError
        As `to_spatialdata` raises them.
    """
    out = to_path(out)
    with appearing(out) as partial:
        spatialdata = require("spatialdata", "spatialdata", "SpatialData")
        check_reach(neighbours_um)
        whole = read_whole(result)
        images = pyramids(whole.folder, has_image=whole.has_image)
        data = spatialdata.SpatialData(**_elements(whole, images, stand_in, neighbours_um))
        with quiet():
            _write(data, partial)
            copy_pixels(images, partial)


def _write(data: SpatialData, path: Path) -> None:
    """Write it to a folder that is not there, in whatever process."""
    # Dask keeps the workers of the main thread, and a process that is forked later waits for them in vain, for threads
    # do not survive a fork. Those of another thread are its own.
    with ThreadPoolExecutor(1, thread_name_prefix="wsinuc-spatialdata") as thread:
        thread.submit(data.write, path, update_sdata_path=False).result()


def _elements(
    whole: WholeResult,
    images: list[Pyramid],
    image_of: Callable[[Pyramid, dict[str, Any]], Any],
    neighbours_um: float,
) -> dict[str, dict[str, Any]]:
    """What SpatialData is made of, by kind and name, with images as ``image_of`` makes them."""
    elements: dict[str, dict[str, Any]] = {"images": {}, "labels": {}, "shapes": {}, "tables": {}}
    for pyramid in images:
        elements[pyramid.kind][pyramid.name] = image_of(pyramid, _of_image(pyramid, whole.nuclei.frame))
    if len(whole.nuclei):
        elements["shapes"][SHAPES] = _shapes(whole.nuclei)
        elements["tables"][TABLE] = _table(whole, neighbours_um)
    return elements


def _shapes(nuclei: Nuclei) -> GeoDataFrame:
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity, Scale

    dy, dx = nuclei.frame.downsample
    corners = nuclei.outlines[:, ::-1] * np.array([dx, dy])
    ring_of = np.repeat(np.arange(len(nuclei)), np.diff(nuclei.offsets))
    polygons = shapely.polygons(shapely.linearrings(corners, indices=ring_of))
    frame = geopandas.GeoDataFrame(geometry=polygons, index=nuclei.ids)
    to_um = Scale([nuclei.frame.mpp / dx, nuclei.frame.mpp / dy], axes=("x", "y"))
    return ShapesModel.parse(frame, transformations={LEVEL0: Identity(), UM: to_um})


def _table(whole: WholeResult, neighbours_um: float) -> Any:
    from spatialdata import sanitize_table
    from spatialdata.models import TableModel

    table = build_table(whole, neighbours_um)
    # SpatialData takes letters, digits and "_.-" alone in names of columns, and classes are called "Immune cells".
    sanitize_table(table)
    table.obs["region"] = SHAPES
    table.obs["region"] = table.obs["region"].astype("category")
    return TableModel.parse(table, region=SHAPES, region_key="region", instance_key="id")


def _of_image(pyramid: Pyramid, frame: Frame) -> dict[str, Any]:
    """Transformations from pixels of an image's finest level."""
    from spatialdata.transformations import Scale

    um_y, um_x = pyramid.um_per_px
    # A view pixel is frame.mpp um, and downsample level-0 pixels.
    level0_y, level0_x = (um / frame.mpp * step for um, step in zip((um_y, um_x), frame.downsample, strict=True))
    axes = ("x", "y")
    return {LEVEL0: Scale([level0_x, level0_y], axes=axes), UM: Scale([um_x, um_y], axes=axes)}
