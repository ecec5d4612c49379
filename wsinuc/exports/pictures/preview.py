"""One picture to look at before reading any number: the whole slide with its nuclei, and a field close up.

The field is shown twice, without and with its outlines, so that one can see what they are drawn on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.drawing import GREY, INK, font, frame, mark_field, printable, scale_bar
from wsinuc.exports.pictures.left_out import LegendEntry
from wsinuc.exports.pictures.region_line import REGION_COLOR
from wsinuc.exports.pictures.slide_pictures import Near, SlidePictures, resolution, slide_mm2
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei
from wsinuc.slides.view import SlideView
from wsinuc.tissue import Region, TissueMask

# In pixels of the page.
_MARGIN = 40
_GAP = 32
_HEADER = 118
_LINE_HEIGHT = 36
_COMPRESSION = 4  # of 9: 6, the usual, takes 1.5 times as long to save 1.4 %; 3 takes a sixth less and adds 6 %


class Preview:
    """The picture of a slide, for which parts of its table are added one by one.

    Parameters
    ----------
    view
        The slide as it was segmented.
    region
        The region of interest, if there is one.
    """

    def __init__(self, view: SlideView, region: Region | None = None) -> None:
        self.pictures = SlidePictures(view, region)
        self._classes: Counter[tuple[str, tuple[int, int, int]]] = Counter()

    def add(self, part: Nuclei) -> None:
        """Count the nuclei of a part, and draw them on the whole slide."""
        self.pictures.add(part)
        counts = np.bincount(part.classes, minlength=len(part.class_names)).tolist()
        for key, count in zip(zip(part.class_names, part.class_colors, strict=True), counts, strict=True):
            # Not update, which would leave out a class without nuclei.
            self._classes[key] += count

    def write(
        self, path: Path | str, near: Near, *, tissue_mm2: float | None = None, tissue: TissueMask | None = None
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
        view = self.pictures.view
        overview = self.pictures.overview(tissue)
        field = self.pictures.field(self.pictures.tally.densest(), near)
        whole = overview.picture.copy()
        # Where the field is the whole slide, a frame would mark nothing.
        if field.box != Box.of_shape(view.shape):
            mark_field(whole, field.box, overview.scale)
        scale_bar(whole, overview.mpp)
        close = [field.plain.copy(), field.outlined.copy()]
        for picture in close:
            scale_bar(picture, field.mpp)
        for picture in (whole, *close):
            frame(picture)
        header = _Header(_title(view), self._caption(tissue_mm2), self._entries(), overview.legend)
        with replacing(Path(path)) as stream:
            _page(whole, close, header).save(stream, format="PNG", compress_level=_COMPRESSION)

    def _caption(self, tissue_mm2: float | None) -> str:
        view = self.pictures.view
        count = self._classes.total()
        noun = "nucleus" if count == 1 else "nuclei"
        if tissue_mm2 is None:
            area = f"{slide_mm2(view):.3g} mm² of slide"
        elif self.pictures.region is not None:
            area = f"{tissue_mm2:.3g} mm² of tissue in the region"
        else:
            area = f"{tissue_mm2:.3g} mm² of tissue"
        return f"{count:,} {noun}  ·  {area}  ·  {resolution(view)}"

    def _entries(self) -> list[LegendEntry]:
        entries = [LegendEntry(f"{printable(name)} {count:,}", color) for (name, color), count in self._classes.items()]
        if self.pictures.region is not None:
            entries.append(LegendEntry("region of interest", REGION_COLOR))
        return entries


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


def _title(view: SlideView) -> str:
    if view.slide.path:
        return printable(view.slide.path.name)
    return "image in memory"


def _page(whole: Image.Image, close: list[Image.Image], header: _Header) -> Image.Image:
    """All pictures on white under a header: the slide, and beside it, or below a wide one, the field twice."""
    # Beside a wide slide the page would be a ribbon.
    below = whole.width > 1.5 * whole.height
    first, second = close
    if below:
        corners = [(0, whole.height + _GAP), (first.width + _GAP, whole.height + _GAP)]
    else:
        corners = [(whole.width + _GAP, 0), (whole.width + _GAP, first.height + _GAP)]
    placed = [((0, 0), whole), (corners[0], first), (corners[1], second)]
    width = max(x + picture.width for (x, _), picture in placed)
    height = max(y + picture.height for (_, y), picture in placed)
    page = Image.new("RGB", (width + 2 * _MARGIN, header.height + height + _MARGIN), (255, 255, 255))
    for (x, y), picture in placed:
        page.paste(picture, (_MARGIN + x, header.height + y))
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
