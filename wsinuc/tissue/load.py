"""Tissue that a user drew: a mask image, or polygons."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.errors import DataError
from wsinuc.regular import require_regular
from wsinuc.slides.view import SlideView
from wsinuc.tissue.mask import TissueMask
from wsinuc.tissue.region import load_region
from wsinuc.urls import PathLike

_ASPECT_TOLERANCE = 0.02
_PICTURE_COVER = 0.9  # share of pixels that are not black, from which on an image may be a picture
_MAX_COLOURS = 1000  # a mask has two, an image of labels one for each nucleus
_LOOKED_AT = 100_000  # pixels whose colours are counted


def load_tissue(path: PathLike, view: SlideView) -> TissueMask:
    """A user's mask: an image that covers the whole slide (non-zero is tissue), or GeoJSON polygons, QuPath's zip too.

    Polygons are in level-0 pixels from ``Slide.origin``, as QuPath draws and exports them.

    Raises
    ------
    DataError
        The file is missing or neither of the two, selects nothing, or does not fit the slide.
    """
    # Takes shapely, which slides without regions do without.
    from wsinuc.annotations import is_geojson

    path = Path(path)
    # os.path says no to a name that no file can have, where Path raises.
    if not os.path.exists(path):
        raise DataError(f"{path}: no such tissue mask; give a PNG or GeoJSON file, auto or none")
    require_regular(path)
    if is_geojson(path):
        return load_region(path, origin_yx=view.slide.origin).to_mask(view)
    mask = _load_image(path, view.shape)
    if not mask.any():
        raise DataError(f"{path} selects nothing: all its pixels are 0, and tissue is where they are not")
    return TissueMask(mask, view.shape)


def _load_image(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        with Image.open(path) as image:
            kind = image.format
            pixels = _numbers(image)
            mask = _nonzero(image, pixels)
    except Exception as error:  # Pillow raises struct, syntax and index errors
        raise DataError(f"{path}: expected a tissue mask as PNG or GeoJSON, cannot read it ({error})") from error
    if not _same_aspect((mask.shape[0], mask.shape[1]), shape):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]} x {mask.shape[0]} px but the slide {shape[1]} x {shape[0]} view px: "
            "a mask of any size must cover the whole slide, so width to height must be the same"
        )
    if kind == "JPEG":
        raise DataError(f"{path}: JPEG changes the numbers of a mask near its edges, where 0 has to stay 0: save a PNG")
    _check_meaning(pixels, mask, path)
    return mask


def _numbers(image: Image.Image) -> NDArray[Any]:
    """Samples as they are stored; of transparent images the colours."""
    # Opaque black would count as tissue by its alpha.
    return np.asarray(image.convert("RGB") if image.mode in ("RGBA", "LA") else image)


def _nonzero(image: Image.Image, pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """(h, w) where a sample is not 0; nothing transparent is tissue, whatever colour lies below."""
    mask: NDArray[np.bool_] = np.atleast_3d(pixels != 0).max(axis=2)
    if image.mode in ("RGBA", "LA"):
        mask &= np.asarray(image.getchannel("A")) > 0
    return mask


def _check_meaning(pixels: NDArray[Any], mask: NDArray[np.bool_], path: Path) -> None:
    """Raise DataError for what is no mask: a probability for each pixel, or a picture of the slide."""
    low, high = pixels.min(), pixels.max()
    if mask.all() and low != high:
        raise DataError(
            f"{path}: none of its pixels is 0, they are {low:.4g} to {high:.4g}, so everything would be tissue: "
            "expected 0 where nothing is to be found; a map of probabilities has to be cut off at a threshold first"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 3 and mask.mean() > _PICTURE_COVER:
        colours = len(np.unique(pixels.reshape(-1, 3)[:: max(1, mask.size // _LOOKED_AT)], axis=0))
        if colours > _MAX_COLOURS:
            raise DataError(
                f"{path}: {colours:,} colours and hardly any black, which is a picture and no mask: expected 0 (black) "
                "where nothing is to be found"
            )


def _same_aspect(mask: tuple[int, int], view: tuple[int, int]) -> bool:
    """Whether width to height agrees up to two percent or to one pixel of the mask, which is rounded."""
    expected = mask[1] * view[0] / view[1]
    return abs(mask[0] - expected) <= max(1.0, _ASPECT_TOLERANCE * expected)
