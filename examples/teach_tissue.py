"""Write what a model says of unlabelled tissue (`unlabelled_tissue.py`), for `tune_network.py` and `tune_diffusion.py`.

    python examples/teach_tissue.py DATA MODEL OUT [--sizes 3/4,1,5/4] [--first 200]

The model sees every image in each size, fitted to it and in the colours of the annotated H&E; OUT
gets the mean as NNNN.npy, ``(channels, h, w)``. Interrupt it at will: the same command goes on.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from train_fast import colours, in_size
from unlabelled_tissue import tissue

from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.normalisation import recoloured
from wsinuc.segmenters.tiled import TiledSegmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", help="name of a shipped model, or a path")
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", default="1", help="how large it sees the tissue, with commas between")
    parser.add_argument("--first", type=int, help="so many images, which are of all sets; all by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = cast(TiledSegmenter, load_segmenter(arguments.model, device="cpu"))
    sizes = [float(Fraction(size)) for size in arguments.sizes.split(",")]
    target = colours(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(tissue(arguments.data)[: arguments.first]):
        path = arguments.out / f"{number:04d}.npy"
        if path.exists():
            continue
        seen = recoloured(image, target.table(image))
        total = sum(in_size(model, seen, size).astype(np.float32) for size in sizes)
        np.save(path, np.rint(total / len(sizes)).astype(np.uint8))
        print(f"{path.name}", flush=True)


if __name__ == "__main__":
    main()
