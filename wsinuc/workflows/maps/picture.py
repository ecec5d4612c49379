"""A map as a picture: colours over the slide in grey, with a scale bar and a bar of colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.drawing import GREY, INK, font, frame, printable, scale_bar, signature
from wsinuc.workflows.maps.colours import coloured_squares, colours_of, scale_labels
from wsinuc.workflows.maps.nuclei_map import NucleiMap

SIDE = 1600
"""Pixels of the longer side of the slide."""
OPACITY = 0.6

# In pixels of the page.
_MARGIN = 40
_HEADER = 118
_BAR = 32
_BAR_GAP = 40
_TICKS = 130
_TICK_COUNT = 5


def write_picture(nuclei_map: NucleiMap, path: Path) -> None:
    """Write a PNG. Raises OutputError."""
    pixels, um_per_px = slide_in_grey(nuclei_map)
    picture = Image.fromarray(colour(pixels, um_per_px, nuclei_map))
    scale_bar(picture, um_per_px)
    frame(picture)
    page = _page(picture, nuclei_map)
    with replacing(path) as stream:
        page.save(stream, format="PNG", pnginfo=signature())


def slide_in_grey(nuclei_map: NucleiMap) -> tuple[NDArray[np.uint8], float]:
    """The slide as RGB ``(h, w, 3)`` without colours, from the copy in the result, and its um per pixel.

    A result without a copy gives a white one.
    """
    height_um, width_um = (side * nuclei_map.grid.mpp for side in nuclei_map.grid.view_shape)
    um_per_px = max(nuclei_map.grid.mpp, max(height_um, width_um) / SIDE)
    size = max(1, round(width_um / um_per_px)), max(1, round(height_um / um_per_px))
    copy = _copy(nuclei_map.result / "labels.ome.zarr")
    if copy is None:
        return np.full((size[1], size[0], 3), 255, np.uint8), um_per_px
    grey = Image.fromarray(copy).convert("L").resize(size, Image.Resampling.BOX)
    # Paler, so that the colours of the map stand out.
    pale = (255 - (255 - np.asarray(grey, np.float32)) * 0.7).round().astype(np.uint8)
    return np.repeat(pale[..., None], 3, axis=2), um_per_px


def colour(pixels: NDArray[np.uint8], um_per_px: float, nuclei_map: NucleiMap) -> NDArray[np.uint8]:
    """The pixels ``(h, w, 3)`` below the colours of their squares; a square without nuclei stays as it is."""
    height, width = pixels.shape[:2]
    rows, columns = nuclei_map.grid.shape
    step = um_per_px / nuclei_map.grid.um
    y = np.minimum(((np.arange(height) + 0.5) * step).astype(np.int64), rows - 1)
    x = np.minimum(((np.arange(width) + 0.5) * step).astype(np.int64), columns - 1)
    # Squares are coloured first and enlarged then: there are fewer of them than of pixels.
    squares = coloured_squares(nuclei_map)[np.ix_(y, x)]
    opacity = np.float32(OPACITY) * (squares[..., 3:] > 0)
    return _over(pixels, squares[..., :3].astype(np.float32), opacity)


def _over(below: NDArray[np.uint8], colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (below * (1 - opacity) + colours * opacity).round().astype(np.uint8)


def _copy(container: Path) -> NDArray[np.uint8] | None:
    """The smallest level of the slide's copy that has enough pixels, RGB ``(h, w, 3)``; None where there is none."""
    root = zarr.open_group(container, mode="r")
    levels: list[Any] = [root[name] for name in sorted((name for name in root if name.isdigit()), key=int)]
    if not levels:
        return None
    enough = [level for level in levels if max(level.shape[1:]) >= SIDE]
    level = enough[-1] if enough else levels[0]
    planes: NDArray[np.uint8] = np.asarray(level[...])
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _page(picture: Image.Image, nuclei_map: NucleiMap) -> Image.Image:
    """The picture on white below a title, beside the bar of colours."""
    height = max(picture.height, 220)
    width = 2 * _MARGIN + picture.width + _BAR_GAP + _BAR + _TICKS
    page = Image.new("RGB", (max(width, 640), _HEADER + height + _MARGIN), (255, 255, 255))
    page.paste(picture, (_MARGIN, _HEADER))
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 28), _text(nuclei_map.quantity.title), fill=INK, font=font(34), anchor="lt")
    noun = "nucleus" if nuclei_map.nuclei == 1 else "nuclei"
    caption = f"{nuclei_map.nuclei:,} {noun}  ·  squares of {nuclei_map.grid.um:g} µm  ·  "
    caption += printable(nuclei_map.result.name)
    draw.text((_MARGIN, 92), caption, fill=GREY, font=font(22), anchor="ls")
    _draw_bar(page, (_MARGIN + picture.width + _BAR_GAP, _HEADER), height, nuclei_map)
    return page


def _draw_bar(page: Image.Image, corner: tuple[int, int], height: int, nuclei_map: NucleiMap) -> None:
    """The bar of colours as they look on glass, the largest value on top, with numbers beside it."""
    x, y = corner
    low, high = nuclei_map.limits
    ramp = np.linspace(high, low, height, dtype=np.float32)[:, None].repeat(_BAR, axis=1)
    colours = colours_of(ramp, nuclei_map.limits)
    bar = _over(np.full_like(colours, 255), colours.astype(np.float32), np.full((1, 1, 1), OPACITY, np.float32))
    page.paste(Image.fromarray(bar), corner)
    draw = ImageDraw.Draw(page)
    for tick, label in enumerate(scale_labels(nuclei_map, _TICK_COUNT)):
        at = y + height - 1 - round(tick * (height - 1) / (_TICK_COUNT - 1))
        draw.line((x + _BAR, at, x + _BAR + 6, at), fill=INK)
        draw.text((x + _BAR + 12, at), label, fill=INK, font=font(20), anchor="lm")


def _text(title: str) -> str:
    """A title in letters that the font has; units keep theirs."""
    return "".join(map(_letter, title))


def _letter(letter: str) -> str:
    if letter.isspace():
        return " "
    if letter in "µ²":
        return letter
    return printable(letter)
