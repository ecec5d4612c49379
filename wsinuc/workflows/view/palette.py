"""Colours by which classes can be told apart by everybody, and a scale for numbers.

The colours of classes are those of Okabe and Ito (2008), made for colour-blind people, in an order in which the
first ones stand out from the pink and violet of haematoxylin and eosin. A test simulates the three kinds of colour
blindness and asks that they stay apart. Numbers take viridis, whose lightness rises steadily for everybody.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

CLASSES = (
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 0, 0),  # black
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
)
UNKNOWN = (150, 150, 150)
"""Of nuclei for which the number in question was not measured."""
STEPS = 256

Rgb = tuple[int, int, int]


def class_colors(count: int) -> tuple[Rgb, ...]:
    """A colour for each of several classes; of more than eight some share one.

    Examples
    --------
    >>> class_colors(2)
    ((0, 158, 115), (240, 228, 66))
    """
    return tuple(CLASSES[number % len(CLASSES)] for number in range(count))


@cache
def scale() -> NDArray[np.uint8]:
    """RGB ``(STEPS + 1, 3)``: the scale from low to high, and last the colour of what is unknown."""
    # Takes bokeh, which is an extra, so it is asked for when a page is shown.
    from bokeh.palettes import Viridis256

    steps = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in Viridis256]
    return np.array([*steps, UNKNOWN], np.uint8)
