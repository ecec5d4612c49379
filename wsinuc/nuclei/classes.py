"""What a class of nuclei is called and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$"
"""Text without control characters and without those that turn or hide what follows."""
ClassName = Annotated[str, Meta(max_length=100, pattern=PRINTABLE)]
Level = Annotated[int, Meta(ge=0, le=255)]
REACH_UM = 25.0
"""How far from a nucleus' centroid what lies around it, and its neighbours, count in its class."""


@dataclass(frozen=True, slots=True)
class NucleusClass:
    """A class of nuclei as users see it."""

    name: ClassName
    """At most 100 printable characters."""
    color: tuple[Level, Level, Level]
    """RGB, 0 to 255."""


def hex_color(rgb: Iterable[int]) -> str:
    """A colour as HTML and CSS write it.

    Parameters
    ----------
    rgb
        Three whole numbers from 0 to 255.

    Examples
    --------
    >>> hex_color((0, 158, 115))
    '#009e73'
    """
    red, green, blue = (int(channel) for channel in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"
