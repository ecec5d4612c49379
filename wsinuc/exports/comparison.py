"""A page that shows annotated against predicted nuclei, because people should look before they read numbers.

Left the image alone, right the same with outlines: annotation green, prediction magenta, yellow where both agree to
the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

TRUTH, PREDICTION, BOTH = (0, 230, 70), (255, 0, 220), (255, 235, 0)
GAP_PX, CAPTION_PX = 12, 30


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One row of the page."""

    caption: str
    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    truth: NDArray[np.integer]
    """(h, w) labels."""
    predicted: NDArray[np.integer]
    """(h, w) labels."""


def write_comparisons(rows: Sequence[Comparison], path: Path, *, zoom: int = 2) -> None:
    """Write one page (PNG) with a row per comparison, each image ``zoom`` times as large as it is."""
    pictures = [np.hstack([_enlarge(row.image, zoom), _outlined(row, zoom)]) for row in rows]
    width = max(p.shape[1] for p in pictures)
    height = sum(p.shape[0] + CAPTION_PX + GAP_PX for p in pictures)
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=18)
    y = 0
    for row, picture in zip(rows, pictures, strict=True):
        draw.text((6, y + 4), row.caption, fill="black", font=font)
        page.paste(Image.fromarray(picture), (0, y + CAPTION_PX))
        y += picture.shape[0] + CAPTION_PX + GAP_PX
    page.save(path)


def _outlined(row: Comparison, zoom: int) -> NDArray[np.uint8]:
    """The enlarged image with both sets of outlines, each drawn on the nucleus' own outermost pixels."""
    truth, predicted = (find_boundaries(labels, mode="inner") for labels in (row.truth, row.predicted))
    picture = row.image.copy()
    picture[truth], picture[predicted], picture[truth & predicted] = TRUTH, PREDICTION, BOTH
    return _enlarge(picture, zoom)


def _enlarge(array: NDArray, zoom: int) -> NDArray:
    return array.repeat(zoom, axis=0).repeat(zoom, axis=1)
