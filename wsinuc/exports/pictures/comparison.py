"""Pages that show annotated against predicted nuclei, because people should look before they read numbers.

`write_comparisons` shows a few images large, left the image alone, right the same with outlines;
`write_overlays` shows many on one page with outlines alone. Annotation is green (outlines, or dots
where points are annotated), prediction magenta, yellow where both agree to the pixel.
`write_mistakes` shows what went wrong in about ten: missed nuclei green, wrong ones magenta, and
thin yellow lines around predictions that are right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.drawing import boundaries, font, printable
from wsinuc.grid import ceil_div
from wsinuc.metrics.segmentation import count_overlaps

TRUTH = (0, 230, 70)
PREDICTION = (255, 0, 220)
BOTH = (255, 235, 0)
"""Colours that neither of the stains has."""
ZOOM = 2
"""How many times as large as it is an image of a comparison is drawn."""
GAP_PX = 12
CAPTION_PX = 30
DOT_RADIUS_PX = 4
CELL_PX = 480
MOST_COLUMNS = 4
PAIR_PX = 512
"""Side of an image in a pair."""
PAIR_COLUMNS = 2
"""Pairs beside each other."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One image of a page."""

    caption: str
    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    truth: NDArray[np.integer]
    """(h, w) labels."""
    predicted: NDArray[np.integer]
    """(h, w) labels."""
    true_points: NDArray[np.float64] | None = None
    """(n, 2) (y, x) in pixels, where points are annotated instead of outlines."""


def write_comparisons(rows: Sequence[Comparison], path: Path) -> None:
    """Write one page (PNG) with a row per comparison: the image alone, and beside it with both sets of outlines.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    pictures = [np.hstack([_enlarge(row.image, ZOOM), _outlined(row, ZOOM)]) for row in rows]
    width = max(p.shape[1] for p in pictures)
    height = sum(p.shape[0] + CAPTION_PX + GAP_PX for p in pictures)
    page = Image.new("RGB", (width, height), "white")
    y = 0
    for row, picture in zip(rows, pictures, strict=True):
        _write_caption(page, row.caption, (0, y), width, 18)
        page.paste(Image.fromarray(picture), (0, y + CAPTION_PX))
        y += picture.shape[0] + CAPTION_PX + GAP_PX
    with replacing(path) as file:
        page.save(file, format="PNG")


def write_overlays(cells: Iterable[Comparison], count: int, path: Path) -> None:
    """Write one page (PNG) of images with outlines, each as large as its cell allows.

    Parameters
    ----------
    cells
        Read one by one, so that one image is in memory at a time.
    count
        How many there are.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    columns = min(count, MOST_COLUMNS)
    step_x = CELL_PX + GAP_PX
    step_y = CELL_PX + CAPTION_PX + GAP_PX
    page = Image.new("RGB", (columns * step_x - GAP_PX, ceil_div(count, columns) * step_y - GAP_PX), "white")
    for i, cell in enumerate(cells):
        x = i % columns * step_x
        y = i // columns * step_y
        _write_caption(page, cell.caption, (x, y), CELL_PX, 15)
        page.paste(Image.fromarray(_outlined(_resized(cell, CELL_PX), 1)), (x, y + CAPTION_PX))
    with replacing(path) as file:
        page.save(file, format="PNG")


def write_mistakes(rows: Iterable[Comparison], count: int, path: Path) -> None:
    """Write one page (PNG) of ``count`` images, each beside itself with its mistakes, shrunk or enlarged to one size.

    A nucleus is right when it has a partner with an IoU above one half. Where points are annotated
    nothing is judged: they are dots, and all predictions are magenta.
    """
    columns = min(count, PAIR_COLUMNS)
    width = 2 * PAIR_PX + GAP_PX // 4
    step_x = width + GAP_PX
    step_y = CAPTION_PX + PAIR_PX + GAP_PX
    top = CAPTION_PX
    page = Image.new("RGB", (columns * step_x - GAP_PX, top + ceil_div(count, columns) * step_y - GAP_PX), "white")
    for i, row in enumerate(rows):
        if i == 0:
            key = "green: annotated, magenta: predicted"
            if row.true_points is None:
                key = "green: missed, magenta: wrong, yellow: predicted and right (IoU above one half)"
            _write_caption(page, key, (0, 0), width, 18)
        x = i % columns * step_x
        y = top + i // columns * step_y
        shown = _resized(row, PAIR_PX)
        if row.true_points is not None:
            picture = _outlined(shown, 1)
        else:
            picture = _mistaken(shown, row)
        _write_caption(page, f"{i + 1}. {row.caption}", (x, y), width, 18)
        page.paste(Image.fromarray(shown.image), (x, y + CAPTION_PX))
        page.paste(Image.fromarray(picture), (x + width - PAIR_PX, y + CAPTION_PX))
    with replacing(path) as file:
        page.save(file, format="PNG")


def _mistaken(shown: Comparison, judged: Comparison) -> NDArray[np.uint8]:
    """The image with missed, wrong and right nuclei; which is which is decided at the size of ``judged``."""
    # At full size: shrinking moves borders, and with them what is right.
    table = count_overlaps(judged.truth, judged.predicted)
    hits = np.isin(shown.truth, table.true_labels[table.true_index[table.matches]])
    right = np.isin(shown.predicted, table.predicted_labels[table.right])
    picture = shown.image.copy()
    # Mistakes are drawn last and thicker, since they are what the page is for.
    picture[boundaries(np.where(right, shown.predicted, 0))] = BOTH
    picture[boundaries(np.where(right, 0, shown.predicted), "thick")] = PREDICTION
    picture[boundaries(np.where(hits, 0, shown.truth), "thick")] = TRUTH
    return picture


def _write_caption(page: Image.Image, text: str, at: tuple[int, int], width: int, size: int) -> None:
    """The caption on one line; letters shrink until it fits."""
    draw = ImageDraw.Draw(page)
    text = printable(text)
    while size > 9 and draw.textlength(text, font(size)) > width - 6:
        size -= 1
    draw.text((at[0] + 3, at[1] + 4), text, fill="black", font=font(size))


def _resized(row: Comparison, side: int) -> Comparison:
    """The same with its longer side as long as ``side``; labels keep their numbers."""
    scale = side / max(row.truth.shape)
    height, width = (max(1, round(n * scale)) for n in row.truth.shape)
    image = Image.fromarray(row.image).resize((width, height), Image.Resampling.LANCZOS)
    # Nearest neighbours: numbers of nuclei cannot be averaged.
    rows = (np.arange(height) * row.truth.shape[0] // height)[:, None]
    columns = np.arange(width) * row.truth.shape[1] // width
    return Comparison(
        caption=row.caption,
        image=np.asarray(image),
        truth=row.truth[rows, columns],
        predicted=row.predicted[rows, columns],
        true_points=None if row.true_points is None else row.true_points * scale,
    )


def _outlined(row: Comparison, zoom: int) -> NDArray[np.uint8]:
    """The enlarged image with both sets of outlines, each drawn on the nucleus' own outermost pixels."""
    truth = boundaries(row.truth)
    predicted = boundaries(row.predicted)
    picture = row.image.copy()
    picture[truth] = TRUTH
    picture[predicted] = PREDICTION
    picture[truth & predicted] = BOTH
    enlarged = _enlarge(picture, zoom)
    if row.true_points is None:
        return enlarged
    return _dotted(enlarged, row.true_points * zoom)


def _dotted(picture: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for y, x in points.tolist():
        corners = (x - DOT_RADIUS_PX, y - DOT_RADIUS_PX, x + DOT_RADIUS_PX, y + DOT_RADIUS_PX)
        draw.ellipse(corners, fill=TRUTH, outline="black")
    return np.asarray(image)


def _enlarge(array: NDArray[Any], zoom: int) -> NDArray[Any]:
    return array.repeat(zoom, axis=0).repeat(zoom, axis=1)
