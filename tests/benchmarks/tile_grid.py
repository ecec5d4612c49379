"""How much do the nuclei depend on where the network's tiles begin?

    PYTHONPATH=. python tests/benchmarks/tile_grid.py SLIDE [--side 1400] [--shift 128 192]

Segments the middle of a slide twice, the second time with its corner moved, which moves the tile grid over the tissue, and
compares what both saw: how far a nucleus is a matter of the tile that it was seen in. The segmenter is fitted to the same
samples both times, as within one slide; the shift is a multiple of the noise's period. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

import numpy as np

from wsinuc.grid import Block, Box
from wsinuc.metrics.segmentation import score
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.segmenters import load_segmenter
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.tasks.evaluate import paint_level0
from wsinuc.tissue import find_tissue, whole


def labels_of(pixels: np.ndarray, mpp: float, segmenter: object) -> np.ndarray:
    """Instances of an image, as one block."""
    with ArraySlide(pixels, mpp=mpp) as slide:
        view = slide.at(mpp)
        box = Box.of_shape(view.shape)
        block = Block(index=0, core=box, read=box)
        found = process_block(view, block, segmenter, batch_size=1, tissue=whole(view), gate=threading.Lock())
        return paint_level0(found.nuclei, view.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--side", type=int, default=1400)
    parser.add_argument("--shift", type=int, nargs=2, default=(128, 192))
    parser.add_argument("--uncalibrated", action="store_true", help="leave each tile its own statistics")
    args = parser.parse_args()
    segmenter = load_segmenter("default", device="cpu")
    with open_slide(args.slide) as slide:
        height, width = slide.level_shapes[0]
        y, x = (height - args.side) // 2, (width - args.side) // 2
        pixels, mpp = slide.read(Box(y, x, y + args.side, x + args.side), 0), slide.mpp
        view = slide.at(segmenter.mpp)
        if not args.uncalibrated:
            segmenter = calibrated(view, segmenter, find_tissue(view))
    dy, dx = args.shift
    first = labels_of(pixels, mpp, segmenter)[dy:, dx:]
    second = labels_of(pixels[dy:, dx:], mpp, segmenter)
    inner = np.s_[64:-64, 64:-64]
    a, b = first[inner], second[inner]
    found = score(a, b)
    facts = {
        "nuclei": int(found.true_nuclei),
        "dice": round(found.dice, 4),
        "aji": round(found.aji, 4),
        "found_again": round(found.found / found.true_nuclei, 4),
        "pixels_differing": round(float(np.mean((a > 0) != (b > 0))), 5),
    }
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
