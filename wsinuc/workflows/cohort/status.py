"""How far the slides of a folder are, seen from outside: by this or another machine, while a run goes on or after it.

Nothing here depends on the run that works: what is done the ledger of each result says, whether
somebody is at it the lock's heartbeat, what went wrong before the state files. A finished result is
done when its files have the names and sizes that its summary lists; their content
``workflows.verify.run`` compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import OutputError
from wsinuc.store import Holder, LockTiming, ResultStore
from wsinuc.store.manifest import Inspection, inspect
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.cohort.state import SlideState, StateFolder

ENDING = ".wsinuc"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideStatus:
    """One slide, now."""

    name: str
    result: Path
    state: str
    """done, damaged (finished once, files missing or changed since), running, waiting, interrupted
    (begun, nobody at it), failed, or skipped (not begun after another's error)."""
    blocks_done: int
    blocks: int | None
    """Blocks with tissue; None while that is not known."""
    nuclei: int
    """Nuclei in the finished blocks."""
    age_s: float | None
    """Seconds since the last sign of life of the run that works on it, or did; None when no run holds the lock."""
    holder: str
    """That run's process and machine; empty when no run holds the lock."""
    attempts: int
    error: str | None


def cohort_status(outs: Iterable[PathLike]) -> tuple[SlideStatus, ...]:
    """The slides of output folders, or of single results (``*.wsinuc``), folder by folder in the order of names.

    Raises
    ------
    OutputError
        A folder is missing, or holds nothing of wsinuc.
    """
    return tuple(status for out in outs for status in _of_folder(to_path(out)))


def exit_code(slides: Iterable[SlideStatus]) -> int:
    """0 when all slides are done, 1 when one failed or is damaged, 2 when some are still to be done."""
    states = {slide.state for slide in slides}
    if states & {"failed", "damaged"}:
        return 1
    return 0 if states <= {"done"} else 2


def is_held(holder: Holder | None) -> bool:
    """Whether somebody is at work, as far as can be seen from here."""
    if holder is None:
        return False
    if holder.alive is not None:
        return holder.alive
    # abs, because a stamp far in the future says no more than an old one.
    return abs(holder.age_s) < LockTiming().stale_s


def _of_folder(out: Path) -> list[SlideStatus]:
    if not out.is_dir():
        raise OutputError(f"{out}: no such folder; give the folder that was given to wsinuc segment with -o")
    if _is_result(out):
        return [_status(out, StateFolder(out.parent).read(out.name.removesuffix(ENDING)))]
    states = StateFolder(out).all()
    results = {path.name.removesuffix(ENDING) for path in out.glob(f"?*{ENDING}") if _is_result(path)}
    if not states and not results:
        raise OutputError(f"{out} holds no results of wsinuc: give the folder that was given to wsinuc segment with -o")
    return [_status(out / f"{name}{ENDING}", states.get(name)) for name in sorted({*states, *results})]


def _is_result(path: Path) -> bool:
    store = ResultStore(path)
    return path.is_dir() and store.is_ours


def _status(folder: Path, record: SlideState | None) -> SlideStatus:
    store = ResultStore(folder)
    name = folder.name.removesuffix(ENDING)
    holder = store.holder()
    inspection = inspect(folder)
    state = _state(store, inspection, holder, record)
    if state == "done":
        summary = inspection.made.content
        blocks = summary.get("blocks", 0)
        done = blocks
        nuclei = summary.get("nuclei", 0)
    else:
        done, nuclei = store.progress()
        blocks = record.blocks if record else None
    return SlideStatus(
        name=name,
        result=folder,
        state=state,
        blocks_done=done,
        blocks=blocks,
        nuclei=nuclei,
        age_s=max(0.0, holder.age_s) if holder else None,
        holder=f"process {holder.pid} on {holder.host}" if holder else "",
        attempts=record.attempts if record else 0,
        error=_error(state, inspection, record),
    )


def _error(state: str, inspection: Inspection, record: SlideState | None) -> str | None:
    if state == "damaged":
        return f"{inspection.reason}: wsinuc verify lists all that is wrong; segment it again with --overwrite"
    if state == "failed" and record is not None and record.state == "done":
        return "it was done, but the result is gone: segment it again"
    return record.error if record else None


def _state(store: ResultStore, inspection: Inspection, holder: Holder | None, record: SlideState | None) -> str:
    # What is seen now comes first: a run that was killed has left "running" in its file.
    if is_held(holder):
        return "running"
    if record and record.state == "failed":
        return "failed"
    if inspection.is_whole:
        return "done"
    if inspection.is_damaged and not store.is_unfinished:
        return "damaged"
    if record is None or store.work.is_dir() or record.state == "running":
        return "interrupted"
    if record.state == "done":
        return "failed"
    return record.state
