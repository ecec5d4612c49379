"""What a task tells its caller while it works: plain data, handed to a callback on the caller's own thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsinuc.workflows.segment.plan import Plan
    from wsinuc.workflows.segment.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """All checks are passed, work begins."""

    blocks: int
    """Blocks of the slide that hold tissue."""
    resumed: int
    """Blocks of these that an interrupted run has done before."""
    nuclei: int
    """Nuclei found in those."""
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDone:
    """One more block is stored."""

    done: int
    """Blocks stored so far, those of an interrupted run included."""
    total: int
    nuclei: int
    """Nuclei so far."""
    unreadable: int
    """Undecodable regions so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A stage begins: blocks, numbering, image, labels, geojson, preview, report, upload, formats."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The result is complete."""

    summary: Summary


Event = Planned | BlockDone | StageStarted | Finished
