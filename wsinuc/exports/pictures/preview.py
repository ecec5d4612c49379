"""One picture to look at before reading any number: the whole slide with its nuclei, and a field close up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.drawing import GREY, INK, Picture, font, frame, printable, scale_bar
from wsinuc.exports.pictures.left_out import LegendEntry, hatch_left_out
from wsinuc.grid import Box, ceil_div
from wsinuc.nuclei import Nuclei
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue import TissueMask

OVERVIEW = 1600
"""Pixels of the longer side of the whole slide."""
FIELD = 512
"""View pixels of a side of the close-up, shown twice as large."""
ZOOM = 2
OUTLINE_MPP = 2.0
"""um per overview pixel up to which a nucleus (about 8 um) is large enough to be outlined; coarser ones get dots."""

_CELL = 128
_MARGIN, _GAP, _HEADER = 40, 32, 118
_LINE_HEIGHT = 36
_MARK = (13, 110, 253)
_COMPRESSION = 4  # of 9: 6, the usual, takes 1.5 times as long to save 1.4 %; 3 takes a sixth less and adds 6 %


class Preview:
    """The picture of a slide, for which parts of its table are added one by one.

    Parameters
    ----------
    view
        The slide as it was segmented.
    """

    def __init__(self, view: SlideView) -> None:
        self._view = view
        # Never finer than the view itself: a small slide is shown as it is.
        mpp = view.mpp * max(1.0, max(view.shape) / OVERVIEW)
        if mpp > view.mpp:
            self._coarse = view.slide.at(mpp)
        else:
            self._coarse = view
        # As the coarse view turned out: its shape is whole pixels, so the wanted mpp is met nearly.
        self._mpp = view.mpp * view.shape[1] / self._coarse.shape[1]
        self._overview = Picture(self._coarse.shape, Box.of_shape(view.shape))
        self._tally = _Tally.empty(view.shape)

    def add(self, part: Nuclei) -> None:
        """Count the nuclei of a part, and draw them on the whole slide."""
        self._tally.add(part)
        if self._mpp <= OUTLINE_MPP:
            self._overview.draw_outlines(part)
        else:
            self._overview.draw_dots(part)

    def write(
        self,
        path: Path | str,
        near: Callable[[Box], Iterable[Nuclei]],
        *,
        tissue_mm2: float | None = None,
        tissue: TissueMask | None = None,
    ) -> None:
        """Write a PNG of the slide with its nuclei coloured by class, beside the densest field magnified.

        Parameters
        ----------
        near
            Parts of the table with all nuclei that reach into a box of the view, perhaps with others.
        tissue_mm2
            Area for the caption; the slide's when not given.
        tissue
            What was left out, for hatching on the whole slide; None draws nothing of the kind.

        Raises
        ------
        OutputError
            The picture cannot be written.
        """
        view = self._view
        box = self._tally.densest(view.shape)
        field = Picture((box.shape[0] * ZOOM, box.shape[1] * ZOOM), box, fill=28)
        for part in near(box):
            field.draw_outlines(part)
        left = self._overview.finish(read_resilient(self._coarse, Box.of_shape(self._coarse.shape))[0])
        right = field.finish(_magnified(view, box))
        legend: list[LegendEntry] = []
        if tissue:
            left, legend = hatch_left_out(left, tissue, _mm2(view))
        # Where the field is the whole slide, a frame would mark nothing.
        if box != self._overview.box:
            _mark(left, box, self._overview.scale)
        for picture, mpp in ((left, self._mpp), (right, view.mpp / ZOOM)):
            scale_bar(picture, mpp)
            frame(picture)
        tally = self._tally
        page = _page(left, right, _Header(_title(view), tally.caption(view, tissue_mm2), tally.entries(), legend))
        with replacing(Path(path)) as stream:
            page.save(stream, format="PNG", compress_level=_COMPRESSION)


@dataclass(slots=True)
class _Tally:
    """How many nuclei of each class there are, and where."""

    cells: NDArray[np.int64]
    """Nuclei per cell of ``_CELL`` view pixels a side."""
    classes: dict[tuple[str, tuple[int, int, int]], int]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> _Tally:
        return cls(np.zeros((ceil_div(shape[0], _CELL), ceil_div(shape[1], _CELL)), np.int64), {})

    def add(self, part: Nuclei) -> None:
        # A centroid on the far border would lie in a cell that is not there.
        rows, columns = np.minimum(part.centroids.astype(np.int64) // _CELL, np.array(self.cells.shape) - 1).T
        np.add.at(self.cells, (rows, columns), 1)
        counts = np.bincount(part.classes, minlength=len(part.class_names)).tolist()
        for key, count in zip(zip(part.class_names, part.class_colors, strict=True), counts, strict=True):
            self.classes[key] = self.classes.get(key, 0) + count

    def densest(self, shape: tuple[int, int]) -> Box:
        """The field with most nuclei, inside the view; its middle when there are none."""
        height, width = min(FIELD, shape[0]), min(FIELD, shape[1])
        if not self.cells.any():
            y0, x0 = (shape[0] - height) // 2, (shape[1] - width) // 2
        else:
            window = FIELD // _CELL
            # Padded behind, so that windows which begin near the end exist, too.
            sums = np.pad(self.cells, ((0, window - 1), (0, window - 1)))
            sums = np.lib.stride_tricks.sliding_window_view(sums, (window, window)).sum(axis=(2, 3))
            row, column = np.unravel_index(int(sums.argmax()), sums.shape)
            y0, x0 = min(int(row) * _CELL, shape[0] - height), min(int(column) * _CELL, shape[1] - width)
        return Box(y0, x0, y0 + height, x0 + width)

    def caption(self, view: SlideView, tissue_mm2: float | None) -> str:
        count = sum(self.classes.values())
        mm2 = _mm2(view) if tissue_mm2 is None else tissue_mm2
        noun = "nucleus" if count == 1 else "nuclei"
        area = f"{mm2:.3g} mm² of {'slide' if tissue_mm2 is None else 'tissue'}"
        return f"{count:,} {noun}  ·  {area}  ·  {view.mpp:.3g} µm per pixel"

    def entries(self) -> list[LegendEntry]:
        return [LegendEntry(f"{printable(name)} {count:,}", color) for (name, color), count in self.classes.items()]


@dataclass(frozen=True, slots=True)
class _Header:
    """What stands above the pictures."""

    title: str
    caption: str
    classes: list[LegendEntry]
    """Classes of nuclei and how many there are."""
    left_out: list[LegendEntry]
    """What was left out and how much; a line of its own where there is any."""

    @property
    def height(self) -> int:
        return _HEADER + (_LINE_HEIGHT if self.left_out else 0)


def _mm2(view: SlideView) -> float:
    return view.shape[0] * view.shape[1] * (view.mpp / 1000) ** 2


def _title(view: SlideView) -> str:
    if view.slide.path:
        return printable(view.slide.path.name)
    return "image in memory"


def _magnified(view: SlideView, box: Box) -> NDArray[np.uint8]:
    pixels, _ = read_resilient(view, box)
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.BICUBIC))


def _mark(picture: Image.Image, box: Box, scale: float) -> None:
    """Show on the overview where the field lies."""
    corners = (box.x0 * scale, box.y0 * scale, box.x1 * scale - 1, box.y1 * scale - 1)
    draw = ImageDraw.Draw(picture)
    # White under the colour, so that the frame shows on any tissue.
    draw.rectangle(corners, outline=(255, 255, 255), width=5)
    # A picture of a few pixels has no room for it.
    if min(corners[2] - corners[0], corners[3] - corners[1]) > 2:
        draw.rectangle((corners[0] + 1, corners[1] + 1, corners[2] - 1, corners[3] - 1), outline=_MARK, width=3)


def _page(left: Image.Image, right: Image.Image, header: _Header) -> Image.Image:
    """Both pictures on white under a header: side by side, or one below the other when the slide is wide."""
    # Beside a wide slide the page would be a ribbon.
    below = left.width > 1.5 * left.height
    top = header.height
    if below:
        width = max(left.width, right.width)
        height = left.height + _GAP + right.height
        corner = (_MARGIN, top + left.height + _GAP)
    else:
        width = left.width + _GAP + right.width
        height = max(left.height, right.height)
        corner = (_MARGIN + left.width + _GAP, top)
    page = Image.new("RGB", (width + 2 * _MARGIN, top + height + _MARGIN), (255, 255, 255))
    page.paste(left, (_MARGIN, top))
    page.paste(right, corner)
    _draw_header(page, header)
    return page


def _draw_header(page: Image.Image, header: _Header) -> None:
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 28), header.title, fill=INK, font=font(34), anchor="lt")
    _draw_line(page, 92, header.caption, header.classes)
    if header.left_out:
        _draw_line(page, 92 + _LINE_HEIGHT, "left out:", header.left_out)


def _draw_line(page: Image.Image, baseline: int, text: str, entries: list[LegendEntry]) -> None:
    """A text, and entries with their colours behind it, as many as there is room for."""
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, baseline), text, fill=GREY, font=font(22), anchor="ls")
    x = _MARGIN + draw.textlength(text, font(22)) + 48
    for entry in entries:
        # What has no room is left out whole; half a word would be worse.
        if x + 28 + draw.textlength(entry.label, font(22)) > page.width - _MARGIN:
            return
        draw.rounded_rectangle((x, baseline - 17, x + 18, baseline + 1), 4, fill=entry.color)
        draw.text((x + 28, baseline), entry.label, fill=INK, font=font(22), anchor="ls")
        x += 28 + draw.textlength(entry.label, font(22)) + 32
