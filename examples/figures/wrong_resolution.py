"""The picture of the page "When the result looks wrong": one field, segmented with three claims of its resolution.

    python examples/figures/wrong_resolution.py examples/data/CMU-1-Small-Region.svs docs/images/wrong_resolution.png

The true resolution of the slide is 0.499 µm per pixel. The default model takes a minute of CPU for all three.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

import wsinuc
from wsinuc.exports.pictures.drawing import INK
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei, concatenate

FIELD = Box(900, 900, 1260, 1260)
"""Level-0 pixels that are segmented: epidermis, its border and the dermis below."""
SHOWN = Box(30, 60, 230, 260)
"""What of them is shown."""
CLAIMS = (0.25, 0.499, 1.0)
TITLES = ("--mpp 0.25: too small", "--mpp 0.499: right", "--mpp 1.0: too large")
SCALE = 1.6
GAP = 8
CAPTION = 48
GREEN = (0, 150, 60)
COLORS = 200


def segment(field: Path, mpp: float, folder: Path) -> Nuclei:
    """The nuclei of a field whose resolution is claimed to be ``mpp``."""
    result = folder / f"{mpp}.wsinuc"
    wsinuc.segment_slide(field, result, wsinuc.SegmentConfig(mpp=mpp, report=False))
    return concatenate(list(wsinuc.iter_nuclei(result)))


def draw_panel(field: Image.Image, nuclei: Nuclei, title: str) -> Image.Image:
    """The shown part with its outlines, and below it what the table would say."""
    part = field.crop((SHOWN.x0, SHOWN.y0, SHOWN.x1, SHOWN.y1))
    size = (round(part.width * SCALE), round(part.height * SCALE))
    enlarged = part.resize(size, Image.Resampling.BICUBIC)
    panel = Image.new("RGB", (enlarged.width, enlarged.height + CAPTION), "white")
    panel.paste(enlarged, (0, 0))
    draw = ImageDraw.Draw(panel)
    corners = (nuclei.outlines * nuclei.frame.downsample - (SHOWN.y0, SHOWN.x0)) * SCALE
    for start, end in zip(nuclei.offsets[:-1], nuclei.offsets[1:], strict=True):
        ring = [(x, y) for y, x in corners[start:end].tolist()]
        draw.line([*ring, ring[0]], fill=GREEN, width=2)
    draw.rectangle((0, enlarged.height, panel.width, panel.height), fill="white")
    area = float(np.median(nuclei.measurements["area_um2"]))
    # Pillow's own font has no µ.
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", 17)
    draw.text((4, enlarged.height + 4), title, fill=INK, font=font)
    draw.text((4, enlarged.height + 25), f"{len(nuclei):,} nuclei, median area {area:.0f} µm²", fill=INK, font=font)
    return panel


def main() -> None:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    with wsinuc.open_slide(arguments.slide) as slide:
        field = Image.fromarray(slide.read(FIELD))
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        field.save(folder / "field.png")
        found = [segment(folder / "field.png", mpp, folder) for mpp in CLAIMS]
    panels = [draw_panel(field, nuclei, title) for nuclei, title in zip(found, TITLES, strict=True)]
    width = sum(panel.width for panel in panels) + GAP * (len(panels) - 1)
    page = Image.new("RGB", (width, panels[0].height), "white")
    for index, panel in enumerate(panels):
        page.paste(panel, (index * (panel.width + GAP), 0))
    page.quantize(COLORS, dither=Image.Dither.NONE).save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
