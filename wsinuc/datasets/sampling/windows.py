"""Overlapping windows that cover an image to its border: how Nudiff (Yu et al. 2023) cuts its patches.

Windows start at every ``stride``; a last row and column, flush with the border, take what is left.
"""

from __future__ import annotations

from wsinuc.errors import ConfigError
from wsinuc.grid import Box


def windows(shape: tuple[int, int], *, size_px: int = 256, stride: int = 128) -> list[Box]:
    """Square windows over an image, row by row; a side shorter than ``size_px`` is taken whole.

    Parameters
    ----------
    shape
        (h, w) of the image in pixels.

    Raises
    ------
    ConfigError
        ``size_px`` or ``stride`` is not positive, or the stride is larger than the window and would leave gaps.

    Examples
    --------
    >>> len(windows((1000, 1000)))
    49
    >>> [box.x0 for box in windows((256, 500))]
    [0, 128, 244]
    """
    if size_px < 1 or not 1 <= stride <= size_px:
        raise ConfigError(f"windows need a side of at least 1 px and a stride from 1 to it, got {size_px} and {stride}")
    height, width = (min(size_px, side) for side in shape)
    return [
        Box(y, x, y + height, x + width)
        for y in _starts(shape[0], size_px, stride)
        for x in _starts(shape[1], size_px, stride)
    ]


def _starts(side: int, size: int, stride: int) -> list[int]:
    last = max(side - size, 0)
    # The range ends before the last start, which is there once, whether or not the stride meets it.
    return [*range(0, last, stride), last]
