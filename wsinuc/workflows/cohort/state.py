"""What is known of each slide of a cohort: one small file per slide in ``<out>/.wsinuc``.

The files say how often a slide was tried, how that went, where and with which versions. They lie
outside the results, so a result's bytes do not depend on what happened on the way, and a slide that
cannot even be opened has one, too. Each appears whole or not at all. A run that is killed leaves
"running" behind; whether that is still true its lock tells (``store.lock``).
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsinuc.own_files import check_folder, what_is
from wsinuc.store.files import disk_errors, read_json, write_json
from wsinuc.store.typed import Count, Figures, typed

STATES = ("waiting", "running", "done", "failed", "skipped")
"""skipped: not begun, because the run stopped at another slide's error."""
FOLDER = ".wsinuc"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideState:
    """One slide of a cohort."""

    name: str
    """Name of the result: its folder is ``<name>.wsinuc``."""
    slide: str
    state: str = "waiting"
    """One of STATES."""
    attempts: Count = 0
    """How often work on it was begun, over all runs."""
    error: str | None = None
    """Why it failed, in one line."""
    blocks: Count | None = None
    """Blocks with tissue; None before the slide was opened."""
    begun: str | None = None
    """UTC, ISO 8601, by the clock of ``host``; so is ``ended``."""
    ended: str | None = None
    host: str = ""
    pid: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    """Figures of a finished slide: nuclei, counts, areas, seconds and notes, fields of
    ``workflows.segment.summary.Summary``."""


class StateFolder:
    """The states of the slides of one output folder."""

    def __init__(self, out: Path) -> None:
        self.path = Path(out) / FOLDER

    def read(self, name: str) -> SlideState | None:
        """What is known of the result ``name``; None when nothing is, or the file is no such thing."""
        path = self._file(name)
        # Somebody's link or pipe says nothing about our slide.
        if what_is(path) not in ("", "file"):
            return None
        return _from_json(read_json(path), name)

    def write(self, state: SlideState) -> None:
        """Store a state; raises OutputError when the disk refuses.

        Only what took work is forced to the disk: waiting or failed slides may be many thousands,
        and the next run finds out again what a power failure took.
        """
        with disk_errors(self.path):
            check_folder(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(dataclasses.asdict(state), self._file(state.name), sync=state.state in ("running", "done"))

    def all(self) -> dict[str, SlideState]:
        """All states by name, in the order of the names."""
        names = sorted(path.name.removesuffix(".json") for path in self.path.glob("*.json"))
        states = ((name, self.read(name)) for name in names)
        return {name: state for name, state in states if state is not None}

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.json"


def here_and_now() -> dict[str, Any]:
    """What a state says of the run that writes it when it begins: time, host, process."""
    return {"begun": timestamp(), "ended": None, "host": socket.gethostname(), "pid": os.getpid()}


def timestamp() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _from_json(content: Mapping[str, Any], name: str) -> SlideState | None:
    """A state from a file of this or another version: unknown fields are left out, what is no state is None."""
    state = None
    if {"slide", "state"} <= content.keys():
        state = typed(SlideState, {**content, "name": name})
    if state is None or state.state not in STATES or typed(Figures, state.figures) is None:
        return None
    return state
