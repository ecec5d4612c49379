"""Pixels in memory as a slide: for the in-memory interface and for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.slides.base import Slide, SlideHeader


class ArraySlide(Slide):
    """An RGB array as a slide, with a pyramid of block means if one is asked for.

    Parameters
    ----------
    pixels
        uint8 ``(h, w, 3)``.
    mpp
        um per pixel; without it everything works that needs no resolution.
    level_downsamples
        Whole numbers, the first 1; level ``d`` holds the means of ``d x d`` pixels, incomplete ones cut off.
    bounds
        The scanned part, as if a file had named it.
    """

    reader = "array"

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        *,
        mpp: float | None = None,
        level_downsamples: tuple[int, ...] = (1,),
        bounds: Box | None = None,
    ) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise DataError(f"expected RGB as uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}")
        if level_downsamples[:1] != (1,) or max(level_downsamples) > min(pixels.shape[:2]):
            raise DataError(
                f"level downsamples start with 1 and do not exceed the image's size {pixels.shape[:2]}, "
                f"got {level_downsamples}"
            )
        self._levels = tuple(_block_means(pixels, factor) for factor in level_downsamples)
        self._bounds = bounds
        super().__init__(None, mpp=mpp)

    def _open(self) -> Any:
        return self._levels

    def _describe(self) -> SlideHeader:
        shapes = tuple((level.shape[0], level.shape[1]) for level in self._levels)
        return SlideHeader(vendor="array", level_shapes=shapes, bounds=self._bounds)

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = handle[level][box.slices].copy()
        return pixels


def _block_means(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return pixels
    height = pixels.shape[0] // factor
    width = pixels.shape[1] // factor
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    means: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return means
