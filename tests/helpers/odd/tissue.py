"""Images with what is no tissue in them: strokes of pens, padding, bubbles, blur, drawn over real tissue and glass.

All are RGB at 0.5 um per px. The real tissue is a part of the example slide.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsinuc.grid import Box
from wsinuc.slides import open_slide

MPP = 0.5
GLASS = 242
SLIDE = Path(__file__).parents[3] / "examples" / "data" / "CMU-1-Small-Region.svs"

INKS = {
    "green": (0.70, 0.18, 0.24),
    "blue": (0.55, 0.32, 0.08),
    "red": (0.08, 0.75, 0.62),
    "black": (1.00, 1.08, 1.15),
}
"""Optical density of the ink of usual markers, red, green and blue channel."""


@cache
def _dermis() -> NDArray[np.uint8]:
    with open_slide(SLIDE) as slide:
        return slide.read(Box(1200, 1000, 2400, 2200), 0)


def tissue(height: int = 1200, width: int = 1200) -> NDArray[np.uint8]:
    """Skin in focus, no glass in view but at its rim."""
    return _dermis()[:height, :width].copy()


def glass(height: int = 1200, width: int = 1200) -> NDArray[np.uint8]:
    """Empty glass with the camera's noise."""
    noise = np.random.default_rng(0).normal(GLASS, 2, (height, width, 3))
    return noise.clip(0, 255).astype(np.uint8)


def half_tissue() -> NDArray[np.uint8]:
    """Tissue on the left, as much glass on the right: (1200, 2400)."""
    return np.concatenate([tissue(), glass()], axis=1)


def stroke(pixels: NDArray[np.uint8], ink: str, box: Box, softness_px: float = 40.0) -> NDArray[np.uint8]:
    """The image with a stroke of ink over a box: its light is absorbed by the ink, too, and the
    edge is out of focus."""
    cover = np.zeros(pixels.shape[:2])
    cover[box.slices] = 1.0
    cover = ndimage.gaussian_filter(cover, softness_px)
    light = pixels * 10 ** (-cover[..., None] * np.array(INKS[ink]))
    return light.round().clip(0, 255).astype(np.uint8)


def padded(pixels: NDArray[np.uint8], level: int, width_px: int = 400) -> NDArray[np.uint8]:
    """The image with a border of one grey level."""
    return np.pad(pixels, ((width_px, width_px), (width_px, width_px), (0, 0)), constant_values=level)


def bubble(pixels: NDArray[np.uint8], centre: tuple[int, int], radius_px: int) -> NDArray[np.uint8]:
    """The image with an air bubble: a little darker, with a thin dark rim, and no colour of its own."""
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    shade = np.where(distance < radius_px, 0.93, 1.0)
    shade[np.abs(distance - radius_px) < 3] = 0.3
    return (pixels * shade[..., None]).astype(np.uint8)


def out_of_focus(pixels: NDArray[np.uint8], box: Box, sigma_um: float) -> NDArray[np.uint8]:
    """The image with a part of it behind a Gaussian blur."""
    blurred = ndimage.gaussian_filter(pixels.astype(np.float32), (sigma_um / MPP, sigma_um / MPP, 0))
    changed = pixels.copy()
    changed[box.slices] = blurred[box.slices].round().astype(np.uint8)
    return changed


def spots(colour: tuple[int, int, int], ground: tuple[int, int, int], share: float) -> NDArray[np.uint8]:
    """Round spots of one colour on another, 6 to 10 um across, side by side as cells and grains are: (1200, 1200)."""
    rng = np.random.default_rng(3)
    field = ndimage.gaussian_filter(rng.normal(size=(1200, 1200)), 7)
    inside = field > np.quantile(field, 1 - share)
    noise = rng.normal(0, 5, (1200, 1200, 3))
    return (np.where(inside[..., None], colour, ground) + noise).clip(0, 255).astype(np.uint8)


def transparent_png(path: Path, pixels: NDArray[np.uint8], clear: Box) -> Path:
    """A PNG whose pixels in a box are transparent (and black below that)."""
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[clear.slices] = 0
    Image.fromarray(rgba).save(path)
    return path
