"""Images of a result as SpatialData holds them: Dask arrays that are read when they are looked at.

A result keeps its images as OME-Zarr, and so does SpatialData. To write them, SpatialData itself
describes an image of a few pixels with as many levels, and the result's arrays take the place of
those, file by file: nothing is decoded or made again, and memory holds none of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsinuc.errors import DamageError
from wsinuc.exports.ome_zarr.metadata import SEMANTIC

if TYPE_CHECKING:
    from xarray import DataTree

CONTAINER = "labels.ome.zarr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pyramid:
    """An OME-Zarr image of a result."""

    kind: str
    """``labels`` or ``images``: where SpatialData keeps it."""
    name: str
    """What SpatialData calls it."""
    levels: tuple[Path, ...]
    """The folder of each array, the finest first."""
    axes: tuple[str, ...]
    """``y`` and ``x``, after ``c`` in an image."""
    um_per_px: tuple[float, float]
    """(y, x) of the finest level."""


def pyramids(result: Path, *, has_image: bool) -> list[Pyramid]:
    """The images of a result that SpatialData can hold: ids at each pixel, and classes of pixels and the slide where
    the result has them.

    Raises
    ------
    DamageError
        An image is not what a result holds.
    """
    container = result / CONTAINER
    names = {"nuclei": "nuclei_labels"}
    if (container / "labels" / SEMANTIC).is_dir():
        names[SEMANTIC] = SEMANTIC
    images = [
        _open(container / "labels" / source, kind="labels", name=name, axes=("y", "x"))
        for source, name in names.items()
    ]
    if has_image:
        images.append(_open(container, kind="images", name="slide", axes=("c", "y", "x")))
    return images


def lazy_image(pyramid: Pyramid, transformations: dict[str, Any]) -> DataTree:
    """The image as SpatialData holds it, its pixels read when they are looked at."""
    import dask.array

    return _tree(pyramid, [dask.array.from_zarr(str(level)) for level in pyramid.levels], transformations)


def stand_in(pyramid: Pyramid, transformations: dict[str, Any]) -> DataTree:
    """An image of the same kind and number of levels that is as small as they allow: one pixel at the coarsest."""
    import dask.array
    import zarr

    dtype = zarr.open_array(pyramid.levels[0], mode="r").dtype
    channels = (3,) * (len(pyramid.axes) - 2)
    sides = [2**level for level in reversed(range(len(pyramid.levels)))]
    arrays = [dask.array.zeros((*channels, side, side), dtype=dtype) for side in sides]
    return _tree(pyramid, arrays, transformations)


def copy_pixels(images: Iterable[Pyramid], store: Path) -> None:
    """Put the arrays of images into a SpatialData store that holds a `stand_in` for each."""
    import zarr

    for pyramid in images:
        group = store / pyramid.kind / pyramid.name
        datasets: Any = zarr.open_group(group, mode="r").attrs["ome"]["multiscales"][0]["datasets"]  # type: ignore[index,call-overload]
        for level, dataset in zip(pyramid.levels, datasets, strict=True):
            shutil.rmtree(group / dataset["path"])
            shutil.copytree(level, group / dataset["path"])
    # The metadata that stands together at the root is still that of the small images.
    zarr.consolidate_metadata(store)


def _open(folder: Path, *, kind: str, name: str, axes: tuple[str, ...]) -> Pyramid:
    import zarr

    try:
        multiscale: Any = zarr.open_group(folder, mode="r").attrs["ome"]["multiscales"][0]  # type: ignore[index,call-overload]
        levels = tuple(folder / dataset["path"] for dataset in multiscale["datasets"])
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        um_per_px = (float(scale[-2]), float(scale[-1]))
    except (LookupError, TypeError, ValueError, OSError) as error:
        raise DamageError(f"{folder} is damaged: expected an OME-Zarr image of a result ({error})") from error
    return Pyramid(kind=kind, name=name, levels=levels, axes=axes, um_per_px=um_per_px)


def _tree(pyramid: Pyramid, arrays: list[Any], transformations: dict[str, Any]) -> DataTree:
    from spatialdata.transformations import set_transformation
    from xarray import DataArray, Dataset, DataTree

    extent = arrays[0].shape[-2:]
    scales = {}
    for level, array in enumerate(arrays):
        # Centres of pixels, in pixels of the finest level.
        steps = zip("yx", extent, array.shape[-2:], strict=True)
        coordinates: dict[str, Any] = {axis: (np.arange(side) + 0.5) * whole / side for axis, whole, side in steps}
        if "c" in pyramid.axes:
            coordinates["c"] = list("rgb")
        image = DataArray(array, dims=pyramid.axes, coords=coordinates, name="image")
        scales[f"scale{level}"] = Dataset({"image": image})
    tree = DataTree.from_dict(scales)
    set_transformation(tree, transformations, set_all=True)
    return tree
