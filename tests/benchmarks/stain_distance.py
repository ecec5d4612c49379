"""How far the stain of published images is from what the model `fast` was trained on, as the report measures it.

    python tests/benchmarks/stain_distance.py FOLDER...

Of each folder up to 15 images are taken, evenly spaced by name; files with "mask" or "label" in their path are left
out. Prints the largest difference of the mean optical density over the three channels, in units of the spread of the
training's pixels, image by image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Coloured
from wsinuc.segmenters.normalisation import moments

IMAGES = 15
SUFFIXES = (".png", ".tif", ".tiff", ".jpg")


def images(folder: Path) -> list[Path]:
    """Up to `IMAGES` images of a folder and those below it."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    pictures = [path for path in files if not any(word in str(path).lower() for word in ("mask", "label"))]
    return pictures[:: max(1, len(pictures) // IMAGES)][:IMAGES]


def main() -> None:
    model = load_segmenter("fast", device="cpu")
    assert isinstance(model, Coloured)
    training = model.training_colours
    assert training is not None
    for folder in map(Path, sys.argv[1:]):
        distances = []
        for path in images(folder):
            measured = moments(np.asarray(Image.open(path).convert("RGB")))
            if measured is not None:
                distances.append(float((abs(measured[0] - training.mean) / training.spread).max()))
        print(folder.name, *(f"{distance:.1f}" for distance in sorted(distances)))


if __name__ == "__main__":
    main()
