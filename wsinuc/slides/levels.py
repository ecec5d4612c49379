"""How the levels of a slide relate to its finest one."""

from __future__ import annotations

import math

from wsinuc.slides.resolution import ANISOTROPY


def level_downsamples(level_shapes: tuple[tuple[int, int], ...]) -> tuple[tuple[float, float], ...]:
    """(y, x) level-0 pixels per pixel of each level.

    Scanners halve or quarter and cut off or pad the last row, so 32,914 rows become 8,228: a downsample of 4, not of
    4.00024. A ratio that is a whole number up to such a row is that whole number.

    Examples
    --------
    >>> level_downsamples(((32914, 46000), (8228, 11500), (1000, 1000)))
    ((1.0, 1.0), (4.0, 4.0), (32.914, 46.0))
    """

    def along(full: int, size: int) -> float:
        ratio = full / size
        # On tiny levels many whole numbers fit, and scanners halve: so a power of two is tried first.
        candidates = (2.0 ** round(math.log2(ratio)), float(round(ratio)))
        return next((whole for whole in candidates if abs(full / whole - size) < 1), ratio)

    height, width = level_shapes[0]
    return tuple((along(height, h), along(width, w)) for h, w in level_shapes)


def shrunk_alike(y: float, x: float) -> bool:
    """Whether a level with these downsamples is shrunk alike along both axes; else nuclei on it are squeezed.

    Examples
    --------
    >>> shrunk_alike(4.0, 4.0), shrunk_alike(2.0, 3.0)
    (True, False)
    """
    return abs(y - x) <= ANISOTROPY * min(y, x)
