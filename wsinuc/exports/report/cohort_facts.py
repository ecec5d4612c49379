"""What the page of a cohort says of each slide, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BEGIN = "<!doctype html>\n<!-- made by wsinuc -->"
"""How every page begins, by which ours is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSlide:
    """One slide of a cohort."""

    name: str
    """Its result is the folder ``<name>.wsinuc``."""
    slide: str
    """Where it was."""
    state: str
    """``done``, ``failed``, or what it waits for."""
    error: str
    """Why it failed; empty where it did not."""
    nuclei: int
    counts: dict[str, int]
    """Nuclei per class."""
    tissue_mm2: float
    notes: tuple[str, ...]
    has_page: bool
    """Whether its result holds ``report.html``."""

    def per_mm2(self, names: Iterable[str]) -> float | None:
        """Nuclei of some classes per mm2 of tissue; None without tissue."""
        if not self.tissue_mm2:
            return None
        return sum(self.counts.get(name, 0) for name in names) / self.tissue_mm2
