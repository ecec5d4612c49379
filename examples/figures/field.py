"""The picture of the README: a slide, and the nuclei of a field of it.

make demo
S=examples/data/CMU-1-Small-Region.svs
python examples/figures/field.py $S demo/CMU-1-Small-Region.wsinuc docs/images/field.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

import wsinuc
from wsinuc.exports.pictures.drawing import INK, Picture
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, concatenate
from wsinuc.slides.base import Slide

FIELD = Box(1810, 1900, 2234, 2540)
"""View pixels of 0.25 µm: epidermis, its border and the dermis below."""
HEIGHT = 480
GAP = 12
COLORS = 224
"""Of the palette; fewer show as bands in the glass."""
BLUE = (30, 90, 255)
BAR_UM = 20


def overview_of(slide: Slide, frame: Frame) -> Image.Image:
    """The slide with the field as a rectangle."""
    picture = Image.fromarray(slide.thumbnail(HEIGHT))
    scale = picture.height / slide.level_shapes[0][0]
    down, right = frame.downsample
    corners = [FIELD.x0 * right, FIELD.y0 * down, FIELD.x1 * right, FIELD.y1 * down]
    ImageDraw.Draw(picture).rectangle([corner * scale for corner in corners], outline=BLUE, width=3)
    return picture


def field_of(slide: Slide, result: Path) -> Image.Image:
    """The field, enlarged, with the outlines of its nuclei."""
    nuclei = concatenate(list(wsinuc.iter_nuclei(result)))
    pixels = Image.fromarray(slide.at(nuclei.frame.mpp).read(FIELD))
    width = round(HEIGHT * FIELD.shape[1] / FIELD.shape[0])
    enlarged = pixels.resize((width, HEIGHT), Image.Resampling.BICUBIC)
    picture = Picture((enlarged.height, enlarged.width), FIELD)
    picture.draw_outlines(nuclei)
    finished = picture.finish(np.asarray(enlarged))
    draw_scale_bar(finished, px_per_um=width / FIELD.shape[1] / nuclei.frame.mpp)
    return finished


def draw_scale_bar(picture: Image.Image, px_per_um: float) -> None:
    """A bar with its length in the lower left corner."""
    width = BAR_UM * px_per_um
    left = 16
    bottom = picture.height - 16
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.rounded_rectangle((left - 8, bottom - 38, left + width + 8, bottom + 8), 6, fill=(255, 255, 255, 225))
    draw.rectangle((left, bottom - 6, left + width, bottom), fill=INK)
    # Pillow's own font has no µ.
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", 17)
    draw.text((left + width / 2, bottom - 12), f"{BAR_UM} µm", fill=INK, font=font, anchor="ms")


def main() -> None:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    with wsinuc.open_slide(arguments.slide) as slide:
        right = field_of(slide, arguments.result)
        frame = next(wsinuc.iter_nuclei(arguments.result)).frame
        left = overview_of(slide, frame)
    page = Image.new("RGB", (left.width + GAP + right.width, HEIGHT), "white")
    page.paste(left, (0, 0))
    page.paste(right, (left.width + GAP, 0))
    page.quantize(COLORS, dither=Image.Dither.NONE).save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
