"""A picture of a part of the slide that nuclei are drawn on, and the furniture around it: text, frames, scale bars."""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from wsinuc.exports.pictures.strokes import edge_midpoints, every_nth, stroke
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei
from wsinuc.shown import shown

INK = (33, 37, 41)
GREY = (108, 117, 125)
_RIM_OPACITY = 110
_MARK = (13, 110, 253)
_FONT_FILE = "mpl-data/fonts/ttf/DejaVuSans.ttf"


class Picture:
    """The nuclei drawn so far over ``box`` (view pixels), for pixels of a ``shape`` (height, width).

    Parameters
    ----------
    line
        Width of outlines in pixels of the picture.
    rim
        Whether outlines have a pale rim, which keeps every colour apart from the stain close up.
    """

    def __init__(self, shape: tuple[int, int], box: Box, *, line: float = 1.7, rim: bool = False) -> None:
        self.shape = shape
        self.box = box
        # Of the longer side, where a pixel that was rounded matters least.
        self.scale = max(shape) / max(box.shape)
        self._line = line
        self._rim = rim
        self._overlay: NDArray[np.uint8] | None = None
        self._counts: NDArray[np.float32] | None = None
        self._colors: tuple[tuple[int, int, int], ...] = ()

    def draw_outlines(self, part: Nuclei) -> None:
        """Add the outlines of the nuclei in or near the box, coloured by class."""
        if self._overlay is None:
            self._overlay = np.zeros((*self.shape, 4), np.uint8)
        near = part.select(np.flatnonzero(self._near(part)))
        if not len(near):
            return
        points, offsets = edge_midpoints(near.outlines, near.offsets)
        # Points stay at most a pixel of the picture apart: closer ones cost time and show nothing.
        points, offsets = every_nth(points, offsets, max(1, int(1 / self.scale)))
        points = (points - (self.box.y0, self.box.x0)) * self.scale
        colors = np.asarray(near.class_colors, np.uint8)[near.classes]
        if self._rim:
            white = np.full_like(colors, 255)
            stroke(points, offsets, white, self._overlay, width=2 * self._line, opacity=_RIM_OPACITY)
        stroke(points, offsets, colors, self._overlay, width=self._line, opacity=255)

    def draw_dots(self, part: Nuclei) -> None:
        """Add the nuclei as dots that merge into a density where they are many."""
        if self._counts is None:
            self._counts = np.zeros((len(part.class_names), *self.shape), np.float32)
            self._colors = part.class_colors
        _, height, width = self._counts.shape
        y, x = ((part.centroids - (self.box.y0, self.box.x0)) * self.scale).astype(np.int64).T
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        # Unlike +=, this counts each of several nuclei that fall on one pixel.
        np.add.at(self._counts, (part.classes[inside], y[inside], x[inside]), 1.0)

    def finish(self, pixels: NDArray[np.uint8]) -> Image.Image:
        """The RGB pixels ``(*shape, 3)`` with everything drawn on them."""
        picture = Image.fromarray(pixels).convert("RGBA")
        if self._counts is not None:
            picture.alpha_composite(Image.fromarray(_density(self._counts, self._colors)))
        if self._overlay is not None:
            picture.alpha_composite(Image.fromarray(self._overlay))
        return picture.convert("RGB")

    def _near(self, part: Nuclei) -> NDArray[np.bool_]:
        reach = 100  # view px; more than the radius of any nucleus
        box = self.box.grow(reach)
        y, x = part.centroids.T
        near: NDArray[np.bool_] = (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1)
        return near


def _density(counts: NDArray[np.float32], colors: tuple[tuple[int, int, int], ...]) -> NDArray[np.uint8]:
    """RGBA ``(h, w, 4)``: colours of the classes mixed by their share, the more opaque the more nuclei."""
    spread = ndimage.gaussian_filter(counts, sigma=(0, 0.8, 0.8))
    total = spread.sum(axis=0)
    rgba = np.zeros((*total.shape, 4), np.uint8)
    share = spread / np.maximum(total, 1e-6)
    rgba[..., :3] = np.tensordot(share, np.asarray(colors, np.float32), axes=(0, 0)).round()
    # Saturating: one nucleus is visible, and thousands do not hide the tissue altogether.
    rgba[..., 3] = (230 * (1 - np.exp(-3.0 * total))).round()
    return rgba


def boundaries(labels: NDArray[np.integer], mode: str = "inner") -> NDArray[np.bool_]:
    """(h, w) pixels at the borders of labels: ``inner`` ones, which belong to a label, or ``thick``, on both sides."""
    # Imported here, since every run draws a preview, which has no need of it.
    from skimage.segmentation import find_boundaries

    edge: NDArray[np.bool_] = find_boundaries(labels, mode=mode)
    return edge


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has µ and ², as Pillow's own font has not."""
    # The file is looked up without importing matplotlib, which would take longer than to draw the picture.
    package = find_spec("matplotlib")
    assert package is not None
    assert package.submodule_search_locations
    return ImageFont.truetype(Path(package.submodule_search_locations[0]) / _FONT_FILE, size)


def printable(text: str) -> str:
    """``text`` on one line in plain letters, which every font has: accents and what has no plain form are dropped."""
    return unicodedata.normalize("NFKD", shown(text)).encode("ascii", "ignore").decode() or "?"


def signature() -> PngInfo:
    """What a PNG says of the program that made it, by which a command knows a picture that it may replace."""
    info = PngInfo()
    info.add_text("Software", "wsinuc")
    return info


def frame(picture: Image.Image) -> None:
    """A thin grey line around a picture, so that white glass does not melt into the page."""
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width - 1, picture.height - 1), outline=(206, 212, 218))


def mark_field(picture: Image.Image, box: Box, scale: float, name: str = "") -> None:
    """Show on the whole slide where a field lies, with its name beside it."""
    x0 = box.x0 * scale
    y0 = box.y0 * scale
    # A field on a narrow strip may be less than a pixel wide.
    corners = (x0, y0, max(x0, box.x1 * scale - 1), max(y0, box.y1 * scale - 1))
    draw = ImageDraw.Draw(picture)
    # White under the colour, so that the frame shows on any tissue.
    draw.rectangle(corners, outline=(255, 255, 255), width=5)
    # A picture of a few pixels has no room for it.
    if min(corners[2] - corners[0], corners[3] - corners[1]) > 2:
        draw.rectangle((corners[0] + 1, corners[1] + 1, corners[2] - 1, corners[3] - 1), outline=_MARK, width=3)
    if name:
        _write_name(draw, name, corners)


def _write_name(draw: ImageDraw.ImageDraw, name: str, corners: tuple[float, float, float, float]) -> None:
    """A name in white on the colour of the frame, above the frame or, at the upper edge, inside it."""
    width = draw.textlength(name, font(22)) + 12
    top = corners[1] - 28
    if top < 0:
        top = corners[1]
    draw.rectangle((corners[0], top, corners[0] + width, top + 28), fill=_MARK)
    draw.text((corners[0] + 6, top + 14), name, fill=(255, 255, 255), font=font(22), anchor="lm")


def scale_bar(picture: Image.Image, um_per_px: float) -> None:
    """A bar of a round length, about a sixth of the picture wide, in its lower left corner."""
    length = round_length(picture.width * um_per_px / 6)
    width = length / um_per_px
    if length >= 1000:
        label = f"{length / 1000:g} mm"
    else:
        label = f"{length:g} µm"
    draw = ImageDraw.Draw(picture, "RGBA")
    text = font(20)
    wide = max(width, draw.textlength(label, text))
    left = 18
    bottom = picture.height - 18
    draw.rounded_rectangle((left - 8, bottom - 42, left + wide + 8, bottom + 8), 6, fill=(255, 255, 255, 215))
    draw.rectangle((left, bottom - 6, left + width, bottom), fill=INK)
    draw.text((left, bottom - 12), label, fill=INK, font=text, anchor="ls")


def round_length(um: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is at most ``um``.

    Examples
    --------
    >>> round_length(73.0), round_length(0.3)
    (50.0, 0.2)
    """
    power = 10.0 ** math.floor(math.log10(um))
    return next(factor * power for factor in (5.0, 2.0, 1.0) if factor * power <= um * (1 + 1e-9))
