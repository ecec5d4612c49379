"""A picture of a part of the slide that nuclei are drawn on, and the furniture around it: text, frames, scale bars."""

from __future__ import annotations

import math
import unicodedata

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei
from wsinuc.shown import shown

INK = (33, 37, 41)
GREY = (108, 117, 125)
_LINE = 1.7  # px of the finished picture


class Picture:
    """Pixels of ``box`` (view pixels), ``scale`` picture pixels per view pixel, and the nuclei drawn so far.

    Outlines are drawn ``smoothness`` times as large and shrunk at the end, which is what makes their lines smooth.
    """

    def __init__(self, pixels: NDArray[np.uint8], box: Box, *, fill: int = 0, smoothness: int = 3) -> None:
        self.base = Image.fromarray(pixels)
        self.box = box
        self.scale = self.base.width / box.shape[1]
        self._fill = fill
        self._smoothness = smoothness
        self._overlay: Image.Image | None = None
        self._counts: NDArray[np.float32] | None = None
        self._colors: tuple[tuple[int, int, int], ...] = ()

    def draw_outlines(self, part: Nuclei) -> None:
        """Add the outlines of the nuclei in or near the box, coloured by class."""
        if self._overlay is None:
            size = (self.base.width * self._smoothness, self.base.height * self._smoothness)
            self._overlay = Image.new("RGBA", size, (0, 0, 0, 0))
        draw = ImageDraw.Draw(self._overlay)
        zoom = self.scale * self._smoothness
        width = max(1, round(_LINE * self._smoothness))
        for i in np.flatnonzero(self._near(part)):
            ring = part.outlines[part.offsets[i] : part.offsets[i + 1]]
            points = (_edge_midpoints(ring) - (self.box.y0, self.box.x0)) * zoom
            color = part.class_colors[part.classes[i]]
            corners = [(x, y) for y, x in points.tolist()]
            if self._fill:
                draw.polygon(corners, fill=(*color, self._fill))
            # The first edge twice, so that the line has a joint, not two ends, where it closes.
            ring_line = [*corners, *corners[:2]]
            if self._fill:  # close up, a pale rim keeps every colour apart from the stain
                draw.line(ring_line, fill=(255, 255, 255, 130), width=3 * width, joint="curve")
            draw.line(ring_line, fill=(*color, 255), width=width, joint="curve")

    def draw_dots(self, part: Nuclei) -> None:
        """Add the nuclei as dots that merge into a density where they are many."""
        if self._counts is None:
            self._counts = np.zeros((len(part.class_names), self.base.height, self.base.width), np.float32)
            self._colors = part.class_colors
        _, height, width = self._counts.shape
        y, x = ((part.centroids - (self.box.y0, self.box.x0)) * self.scale).astype(np.int64).T
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        # Unlike +=, this counts each of several nuclei that fall on one pixel.
        np.add.at(self._counts, (part.classes[inside], y[inside], x[inside]), 1.0)

    def finish(self) -> Image.Image:
        """The RGB picture with everything drawn on it."""
        picture = self.base.convert("RGBA")
        if self._counts is not None:
            picture.alpha_composite(Image.fromarray(_density(self._counts, self._colors)))
        if self._overlay is not None:
            picture.alpha_composite(self._overlay.resize(picture.size, Image.Resampling.BOX))
        return picture.convert("RGB")

    def _near(self, part: Nuclei) -> NDArray[np.bool_]:
        reach = 100  # view px; more than the radius of any nucleus
        box = self.box.grow(reach)
        y, x = part.centroids.T
        near: NDArray[np.bool_] = (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1)
        return near


def _edge_midpoints(ring: NDArray[np.int32]) -> NDArray[np.float64]:
    """Middles of the pixel edges along a ring: the same outline with its stairs cut to slopes."""
    step = np.roll(ring, -1, axis=0) - ring
    lengths = np.abs(step).sum(axis=1)
    # Along runs of pixel edges: how far each edge's middle lies behind the corner where its run begins.
    along = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 0.5
    middles: NDArray[np.float64] = (
        np.repeat(ring, lengths, axis=0) + np.repeat(np.sign(step), lengths, axis=0) * along[:, None]
    )
    return middles


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

    edge: NDArray[np.bool_] = find_boundaries(labels, mode=mode)  # type: ignore[no-untyped-call]  # it has no types
    return edge


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow; it has no letters beyond ASCII, so units are um and mm2."""
    return ImageFont.load_default(size=size)


def printable(text: str) -> str:
    """``text`` on one line in letters that the font has: accents and what has no plain form are dropped."""
    return unicodedata.normalize("NFKD", shown(text)).encode("ascii", "ignore").decode() or "?"


def frame(picture: Image.Image) -> None:
    """A thin grey line around a picture, so that white glass does not melt into the page."""
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width - 1, picture.height - 1), outline=(206, 212, 218))


def scale_bar(picture: Image.Image, um_per_px: float) -> None:
    """A bar of a round length, about a sixth of the picture wide, in its lower left corner."""
    length = round_length(picture.width * um_per_px / 6)
    width = length / um_per_px
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} um"
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
