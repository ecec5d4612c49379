"""What a class of nuclei is called and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NucleusClass:
    """A class of nuclei as users see it."""

    name: str
    color: tuple[int, int, int]
    """RGB, 0 to 255."""
