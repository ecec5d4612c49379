"""How much do the nuclei depend on where the slide begins?

    PYTHONPATH=. python tests/benchmarks/position.py --slide SLIDE [--model default] [--size 768]
    [--offsets 1 7 33 64 100]

Segments a crop of the slide, then the same tissue with the corner moved by each offset (level-0
pixels, down and right), which moves the grid of the network's tiles, what its pooling joins, and
the samples of the resampler. Nuclei are painted in level-0 pixels and matched where both crops see
them, at an IoU above one half; those whose centroid is nearer than ``--border`` to the edge of
either crop are not judged, but may be partners. A nucleus has changed when it has no partner, in
the other crop, seen from either side. Prints JSON; exits with 1 when more than 1 % have changed,
over all offsets.

The segmenter is fitted to the slide once, as a run does; with ``--refit`` anew to each moved slide
(all of which is then held in memory), so that the samples of tissue that it is fitted to move too;
with ``--uncalibrated`` never.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Block, Box
from wsinuc.metrics.detection import Points
from wsinuc.metrics.segmentation import count_overlaps
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.base import Slide
from wsinuc.tissue import find_tissue, whole
from wsinuc.workflows.evaluate.run import paint_level0

LIMIT = 0.01
OFFSETS = (1, 7, 33, 64, 100)


def main() -> int:
    args = parse()
    if min(args.offsets) < 1:
        sys.exit(f"offsets are 1 px or more, got {min(args.offsets)}")
    segmenter = load_segmenter(args.model, device=args.device)
    with open_slide(args.slide, mpp=args.mpp) as slide:
        area = crop_of(slide, segmenter, args)
        pixels, mpp = slide.read(area, 0), slide.mpp
        side = pixels.shape[0] - max(args.offsets)
        fitted = segmenter if args.uncalibrated or args.refit else fit(slide, segmenter)
        level0 = slide.read(Box.of_shape(slide.level_shapes[0]), 0) if args.refit else None
        facts = {
            "slide": args.slide.name,
            "model": args.model,
            "mpp": mpp,
            "crop_px": side,
            "corner": [area.y0, area.x0],
        }
    border = round((args.border or segmenter.margin + segmenter.min_halo) * segmenter.mpp / mpp)
    if 2 * border >= side - max(args.offsets):
        sys.exit(f"nothing is left to judge of {side} px inside a border of {border} px: choose a larger --size")
    labels, rows = {}, []
    for offset in (0, *args.offsets):
        if level0 is not None:
            with ArraySlide(level0[offset:, offset:], mpp=mpp) as moved:
                fitted = fit(moved, segmenter)
        labels[offset] = labels_of(pixels[offset : offset + side, offset : offset + side], mpp, fitted)
        if offset:
            rows.append(
                {"offset_px": offset} | changes(labels[0][offset:, offset:], labels[offset][:-offset, :-offset], border)
            )
    judged, changed = (sum(row[name] for row in rows) for name in ("judged", "changed"))
    share = changed / judged if judged else float("nan")
    print(json.dumps({**facts, "border_px": border, "offsets": rows, "changed": share, "limit": LIMIT}, indent=1))
    return int(not share <= LIMIT)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--mpp", type=float, help="um per pixel of an image that does not say it")
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=768, help="side of the crop in pixels of the model's resolution")
    parser.add_argument("--at", type=int, nargs=2, metavar=("Y", "X"), help="its centre, level-0 pixels [the middle]")
    parser.add_argument("--offsets", type=int, nargs="+", default=OFFSETS, metavar="PX")
    parser.add_argument("--border", type=int, metavar="PX", help="of the model's resolution [its margin and halo]")
    parser.add_argument("--refit", action="store_true", help="fit the model to each moved slide")
    parser.add_argument("--uncalibrated", action="store_true", help="leave each tile its own statistics")
    return parser.parse_args()


def crop_of(slide: Slide, segmenter: Segmenter, args: argparse.Namespace) -> Box:
    """What is read: the crop, and as much more as it is moved."""
    height, width = slide.level_shapes[0]
    side = min(round(args.size * segmenter.mpp / slide.mpp) + max(args.offsets), height, width)
    y, x = args.at or (height // 2, width // 2)
    y, x = (int(np.clip(at - side // 2, 0, length - side)) for at, length in ((y, height), (x, width)))
    return Box(y, x, y + side, x + side)


def fit(slide: Slide, segmenter: Segmenter) -> Segmenter:
    """The segmenter fitted to the tissue of a slide."""
    view = slide.at(segmenter.mpp)
    return calibrated(view, segmenter, find_tissue(view))


def labels_of(pixels: NDArray[np.uint8], mpp: float, segmenter: Segmenter) -> NDArray[np.int32]:
    """Nuclei of an image as one block, at the image's own resolution."""
    with ArraySlide(pixels, mpp=mpp) as slide:
        view = slide.at(segmenter.mpp)
        box = Box.of_shape(view.shape)
        block, size = Block(index=0, core=box, read=box), segmenter.batch_size
        found = process_block(view, block, segmenter, batch_size=size, tissue=whole(view), gate=threading.Lock())
        return paint_level0(found.nuclei, pixels.shape[:2])


def changes(first: NDArray[np.int32], second: NDArray[np.int32], border: int) -> dict[str, Any]:
    """How many nuclei of the common area (h, w) are judged, and how many have no partner, both sides counted."""
    table = count_overlaps(first, second)
    judged = changed = 0
    for labels, index in ((first, table.true_index), (second, table.predicted_index)):
        # Points stand in the order of ascending labels, as the table does.
        places = Points.of_labels(labels).places
        inner = ((places >= border) & (places < np.array(labels.shape) - border)).all(1)
        alone = np.ones(len(places), bool)
        alone[index[table.matches]] = False
        judged, changed = judged + int(inner.sum()), changed + int((inner & alone).sum())
    differ = (first > 0)[border:-border, border:-border] != (second > 0)[border:-border, border:-border]
    share = changed / judged if judged else None
    return {"judged": judged, "changed": changed, "share": share, "pixels_differing": float(differ.mean())}


if __name__ == "__main__":
    sys.exit(main())
