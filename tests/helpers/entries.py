"""A few nuclei, and an entry of the ledger."""

from __future__ import annotations

import numpy as np

from helpers.oracle import CLASSES
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.store import Entry


def some_nuclei(count: int = 3) -> Nuclei:
    labels = np.zeros((4, 4 * count + 4), np.int32)
    for i in range(count):
        labels[1:3, 4 * i + 1 : 4 * i + 3] = i + 1
    scores = np.full((5, *labels.shape), 200, np.uint8)
    return measure(labels, scores, Box.of_shape(labels.shape), Frame(mpp=0.5, downsample=(1.0, 1.0)), CLASSES)


def entry(block: int, nuclei: int, **changes: object) -> Entry:
    values = {
        "shard_sha256": None,
        "unreadable": (Box(0, 0, 2, 3),),
        "tiles": 4,
        "at_edge": 0,
        "seconds": {"read": 0.5},
    }
    return Entry(block=block, nuclei=nuclei, **{**values, **changes})  # type: ignore[arg-type]
