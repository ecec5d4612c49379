"""Unlabelled tissue of many laboratories at 0.25 um per px: what models say of it teaches other models.

DATA holds `tnbc` (without patients 09 to 11), `dsb2018_histology`, `nucls_points`, `slides`, and the pixels of
`sbu_tcga`, `camelyon`, `oral` and `bcss`. Where nobody recorded a resolution, pixels are taken as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from train_accurate import HELD_OUT, rows, unlabelled

MPP = 0.25
SIDE = 512
"""Of the fields that large images are cut into, in pixels."""
GLASS = 225
"""Mean grey level from which a field is empty."""
FIELDS = {"bcss": 8, "slide": 6}
"""Fields of each image of `bcss`, and of the example slide."""
SEED = 3
HAEMATOXYLIN = "haematoxylin alone"
SEEN = (
    "pixels of NuCLS (CC0), OpenSlide's images, SBU's TCGA patches (BSD-3-Clause), Camelyon (CC0), oral mucosa "
    "(Mendeley ftmp4cvtmb, CC BY 4.0) and BCSS (CC0)"
)


def tissue(data: Path) -> list[NDArray[np.uint8]]:
    """RGB images, in an order that mixes the sets."""
    return [image for _, image in named_tissue(data)]


def named_tissue(data: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """The set of every image, or `HAEMATOXYLIN` for those without eosin, and its pixels, in the same order."""
    rng = np.random.default_rng(SEED)
    images = []
    for name in ("sbu_tcga", "camelyon", "oral"):
        images += [(name, _at_most(read(path), rng)) for path in files(data / name)]
    for path in files(data / "bcss"):
        images += [("bcss", field) for field in fields(read(path), FIELDS["bcss"], rng)]
    *small, slide = unlabelled(data, MPP)
    halves = fields(slide, FIELDS["slide"], rng)
    images += zip(_names_of_small(data), small, strict=True)
    # The slide has 0.5 um per px.
    images += [("slide", np.asarray(Image.fromarray(half).resize((2 * SIDE, 2 * SIDE)))) for half in halves]
    return [images[i] for i in rng.permutation(len(images))]


def _names_of_small(data: Path) -> list[str]:
    """The sets of what `unlabelled` gives, but the slide, in its order."""
    names = ["tnbc" for row in rows(data / "tnbc") if row["patient"] not in HELD_OUT]
    stains = [row["stain"] for row in rows(data / "dsb2018_histology")]
    names += [HAEMATOXYLIN if stain == "hematoxylin_only" else "dsb2018_histology" for stain in stains]
    names += ["nucls_points" for _ in (data / "nucls_points" / "images").glob("*.png")]
    return [*names, "slide"]


def files(folder: Path) -> list[Path]:
    """Images of a set, by name."""
    return sorted((folder / "images").iterdir())


def read(path: Path) -> NDArray[np.uint8]:
    """RGB ``(h, w, 3)``."""
    return np.asarray(Image.open(path).convert("RGB"))


def fields(image: NDArray[np.uint8], count: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """At most so many squares of a grid that hold tissue."""
    height, width = image.shape[:2]
    corners = [(y, x) for y in range(0, height - SIDE + 1, SIDE) for x in range(0, width - SIDE + 1, SIDE)]
    squares = [image[y : y + SIDE, x : x + SIDE] for y, x in corners]
    full = [square for square in squares if square.mean() < GLASS]
    return [full[i] for i in rng.permutation(len(full))[:count]]


def _at_most(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image of up to 700 px a side as it is, of a larger one a square."""
    if max(image.shape) <= 700:
        return image
    y, x = (int(rng.integers(side - SIDE + 1)) for side in image.shape[:2])
    return image[y : y + SIDE, x : x + SIDE]
