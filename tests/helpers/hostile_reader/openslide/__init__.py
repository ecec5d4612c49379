"""A stand-in for OpenSlide whose C code goes wrong when the name of the file says so.

``abort-open.svs`` ends the process while it is opened, ``abort-20.svs`` at the twentieth region; ``loop`` takes CPU for
ever, ``sleep`` waits for ever, ``memory`` takes memory without end. Any other name is a white slide with dark squares.
A test puts the folder above on ``sys.path``, so that reader processes find this and the test's own process does not.
"""

import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

__version__ = __library_version__ = "hostile"
SIDE = 2000
PROPERTY_NAME_MPP_X, PROPERTY_NAME_MPP_Y = "openslide.mpp-x", "openslide.mpp-y"


class OpenSlideError(Exception):
    """As OpenSlide's."""


OpenSlideUnsupportedFormatError = OpenSlideError


class OpenSlide:
    """As OpenSlide's, as far as wsinuc asks."""

    def __init__(self, path):
        if Path(path).suffix != ".svs":
            raise OpenSlideError("no slide of ours")
        self._deed, _, self._when = Path(path).stem.partition("-")
        self._reads = 0
        if self._when == "open":
            _do(self._deed)
        self.level_dimensions = ((SIDE, SIDE),)
        self.level_downsamples = (1.0,)
        self.level_count = 1
        self.dimensions = (SIDE, SIDE)
        self.associated_images = {}
        self.properties = {
            "openslide.vendor": "hostile",
            "openslide.mpp-x": "0.5",
            "openslide.mpp-y": "0.5",
        }

    def read_region(self, location, level, size):
        self._reads += 1
        if self._when.isdigit() and self._reads >= int(self._when):
            _do(self._deed)
        x, y = location
        pixels = np.full((size[1], size[0], 4), 255, np.uint8)
        rows, columns = np.arange(y, y + size[1]) % 40 < 12, np.arange(x, x + size[0]) % 40 < 12
        pixels[..., :3][rows[:, None] & columns] = (40, 40, 200)
        return Image.fromarray(pixels, "RGBA")

    def close(self):
        """Nothing is open."""

    def set_cache(self, cache):
        """Nothing is kept."""


def OpenSlideCache(size):
    """Nothing is kept."""


def _do(deed):
    if deed == "abort":
        os.abort()
    held = []
    while deed in ("loop", "sleep", "memory"):
        if deed == "sleep":
            time.sleep(1)
        if deed == "memory":
            held.append(np.zeros(2**24))
