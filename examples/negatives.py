"""Places without a nucleus, chosen by eye: keratin, glass, mucus, debris. Models learn from them what not to outline.

`negatives.json` lists them: a data set, an image of it, um per px (as its source tells the
magnification), a box (y0, x0, y1, x1) in its pixels, and what is there. None is from `histolab` or
`misc`, whose pen and glass measure how many nuclei a model sees where none are.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wsinuc.datasets.base import LabelledImage

PLACES = Path(__file__).with_suffix(".json")


def negatives(data: Path) -> list[LabelledImage]:
    """Every place as an image with empty labels.

    Parameters
    ----------
    data
        The folder that holds the data sets.

    Raises
    ------
    OSError
        An image is missing.
    """
    return [_read(data, place) for place in json.loads(PLACES.read_text())]


def _read(data: Path, place: dict) -> LabelledImage:
    y0, x0, y1, x1 = place["box"]
    with Image.open(data / place["set"] / "images" / place["image"]) as image:
        pixels = np.asarray(image.convert("RGB"))[y0:y1, x0:x1]
    return LabelledImage(
        name=f"{place['set']}/{place['image']}",
        image=np.ascontiguousarray(pixels),
        labels=np.zeros(pixels.shape[:2], np.int32),
        mpp=place["mpp"],
        classes=None,
        attributes={"kind": place["kind"]},
    )
