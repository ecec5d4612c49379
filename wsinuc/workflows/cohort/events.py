"""What a cohort tells its caller while it works: plain data, handed to a callback on the caller's own thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsinuc.workflows.cohort.slide_list import SlideJob
    from wsinuc.workflows.segment.events import Event
    from wsinuc.workflows.segment.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideProgress:
    """One slide of several goes on."""

    job: SlideJob
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideDone:
    """One slide of several is complete."""

    job: SlideJob
    summary: Summary | None
    """None: it was complete before, with the same settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideFailed:
    """One slide of several could not be finished."""

    job: SlideJob
    error: Exception
    again: bool
    """Whether it will be tried again, after the others."""


CohortEvent = SlideProgress | SlideDone | SlideFailed
