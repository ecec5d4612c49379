"""What the page of a slide says, as plain data: everything that is no picture and no chart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """One class of nuclei."""

    name: str
    color: tuple[int, int, int]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A part of the slide in which no nuclei were looked for."""

    what: str
    """Such as "pen"."""
    why: str
    mm2: float
    share: float
    """Of the slide, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know before trusting the numbers."""

    title: str
    text: str
    is_doubtful: bool = False
    """Whether it is a reason to look closely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideFacts:
    """One result."""

    name: str
    """File name of the slide."""
    classes: tuple[ClassFacts, ...]
    tissue_mm2: float
    """Area in which nuclei were looked for."""
    area_name: str
    """What that area is: "tissue", "tissue in the region of interest", "the slide"."""
    resolution: str
    """With its unit."""
    left_out: tuple[LeftOut, ...]
    search: str
    """Where nuclei were looked for, in a sentence."""
    notes: tuple[Finding, ...]
    """What the run noted."""
    citation: str
    """For the methods section of a paper."""
    settings: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def nuclei(self) -> int:
        """Of all classes."""
        return sum(each.count for each in self.classes)

    def per_mm2(self, count: int) -> float | None:
        """Nuclei per mm2; None where there is no area to count in."""
        if not self.tissue_mm2:
            return None
        return count / self.tissue_mm2
