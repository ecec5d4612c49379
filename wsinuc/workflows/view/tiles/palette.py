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
    (86, 180, 233),  # sky blue
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
    (0, 0, 0),  # black
    (230, 159, 0),  # orange
    (204, 121, 167),  # reddish purple
)
UNKNOWN = (150, 150, 150)
"""Of nuclei for which the number in question was not measured."""
STOPS = 9
"""Colours that a legend is painted with."""
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
    # Takes a quarter of a second, which pages of classes do without.
    from matplotlib import colormaps

    steps = colormaps["viridis"](np.arange(STEPS), bytes=True)[:, :3]
    return np.array([*steps.tolist(), UNKNOWN], np.uint8)


def scale_stops() -> list[Rgb]:
    """Colours of the scale at equal distances, both ends among them: what a legend is painted with."""
    places = np.linspace(0, STEPS - 1, STOPS).round().astype(int)
    return [(red, green, blue) for red, green, blue in scale()[places].tolist()]
