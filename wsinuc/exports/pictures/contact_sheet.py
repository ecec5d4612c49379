"""One page of a data set's images with their annotation drawn in: people should look at data before using them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsinuc.datasets.base import LabelledImage
from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.drawing import GREY, INK, boundaries, font, frame, printable, signature
from wsinuc.grid import ceil_div
from wsinuc.nuclei.classes import NucleusClass

TILE_PX = 360
GAP_PX = 14
CAPTION_PX = 46
LEGEND_PX = 40
CENTRE_PX = 512
"""Side from which the middle of an image is shown instead of all of it, so that outlines stay lines."""
UNCLASSIFIED = (0, 230, 70)
"""Outlines of nuclei without a class."""
UNKNOWN = (255, 255, 255)
"""Outlines of nuclei whose class is not known in a set that has classes."""


def write_contact_sheet(
    images: Sequence[LabelledImage], classes: Sequence[NucleusClass], path: Path, *, columns: int = 4
) -> None:
    """Write a page (PNG) with one tile per image: outlines or points in the colours of their classes, and a caption.

    Parameters
    ----------
    images
        What to show, in order; of images larger than `CENTRE_PX` the middle.
    classes
        Their classes, which become the legend; empty where nuclei are not classified.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    columns = min(columns, max(1, len(images)))
    rows = ceil_div(len(images), columns)
    top = LEGEND_PX if classes else GAP_PX
    size = (columns * (TILE_PX + GAP_PX) + GAP_PX, top + rows * (TILE_PX + CAPTION_PX + GAP_PX))
    page = Image.new("RGB", size, "white")
    colors = np.array([UNKNOWN if classes else UNCLASSIFIED, *(c.color for c in classes or _one_class())], np.uint8)
    _draw_legend(ImageDraw.Draw(page), classes)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        x = GAP_PX + column * (TILE_PX + GAP_PX)
        y = top + row * (TILE_PX + CAPTION_PX + GAP_PX)
        tile = _tile(image, colors)
        frame(tile)
        page.paste(tile, (x, y))
        _draw_caption(ImageDraw.Draw(page), image, (x, y + TILE_PX + 4))
    with replacing(path) as file:
        page.save(file, format="PNG", pnginfo=signature())


def _tile(image: LabelledImage, colors: NDArray[np.uint8]) -> Image.Image:
    """The middle of an image on a white square, annotated; outlines are drawn at the tile's own resolution."""
    y0, x0, height, width = _middle(image.labels.shape)
    scale = TILE_PX / max(height, width)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = Image.fromarray(image.image[y0 : y0 + height, x0 : x0 + width]).resize(
        shape[::-1], Image.Resampling.LANCZOS
    )
    # Labels take the nearest pixel: means of numbers would be other nuclei.
    rows, columns = (((np.arange(n) + 0.5) / scale).astype(int) for n in shape)
    labels = image.labels[y0 + rows.clip(max=height - 1)][:, x0 + columns.clip(max=width - 1)]
    picture = np.array(pixels)
    edge = boundaries(labels)
    if image.classes is None:
        class_of = np.ones(int(labels.max(initial=0)) + 1, np.int32)
    else:
        class_of = image.classes
    picture[edge] = colors[class_of[labels[edge]]]
    tile = Image.new("RGB", (TILE_PX, TILE_PX), "white")
    tile.paste(Image.fromarray(picture), (0, 0))
    if image.points is not None:
        if image.point_classes is None:
            classes = np.ones(len(image.points), np.int32)
        else:
            classes = image.point_classes
        _draw_points(ImageDraw.Draw(tile), (image.points - (y0, x0)) * scale, colors[classes])
    return tile


def _middle(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Corner and size of what is shown of an image."""
    height, width = (min(side, CENTRE_PX) for side in shape)
    return (shape[0] - height) // 2, (shape[1] - width) // 2, height, width


def _draw_points(draw: ImageDraw.ImageDraw, points: NDArray[np.float64], colors: NDArray[np.uint8]) -> None:
    for (y, x), color in zip(points.tolist(), colors.tolist(), strict=True):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=tuple(color), outline="white", width=1)


def _draw_caption(draw: ImageDraw.ImageDraw, image: LabelledImage, corner: tuple[int, int]) -> None:
    x, y = corner
    height, width = image.labels.shape
    if max(height, width) > CENTRE_PX:
        shown = f"middle of {width} x {height} px"
    else:
        shown = f"{width} x {height} px"
    count = len(np.unique(image.labels[image.labels > 0]))
    if image.points is not None:
        count += len(image.points)
    known = [v for k, v in image.attributes.items() if k in ("tissue", "organ", "source", "split", "stain") and v]
    draw.text((x, y), _fit(draw, image.name, 15), fill=INK, font=font(15))
    draw.text((x, y + 19), _fit(draw, ", ".join([f"{count} annotated", shown, *known]), 13), fill=GREY, font=font(13))


def _fit(draw: ImageDraw.ImageDraw, text: str, size: int) -> str:
    """As much of a text as a tile is wide."""
    text = printable(text)
    while draw.textlength(text, font(size)) > TILE_PX:
        text = text[:-4] + "..."
    return text


def _draw_legend(draw: ImageDraw.ImageDraw, classes: Sequence[NucleusClass]) -> None:
    x = GAP_PX
    for c in classes:
        draw.rectangle((x, 12, x + 16, 28), fill=c.color, outline=GREY)
        name = printable(c.name)
        draw.text((x + 22, 20), name, fill=INK, font=font(15), anchor="lm")
        x += 40 + round(draw.textlength(name, font(15)))


def _one_class() -> tuple[NucleusClass, ...]:
    return (NucleusClass("Nucleus", UNCLASSIFIED),)
