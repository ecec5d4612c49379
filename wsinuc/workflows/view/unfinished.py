"""What is said of a result that ``wsinuc segment`` has not finished."""

from __future__ import annotations

from pathlib import Path

from wsinuc.store import ResultStore
from wsinuc.workflows.cohort.status import is_held


def unfinished(result: Path) -> str:
    """A sentence about the run that makes a result; empty for a finished one, or where no run has begun."""
    store = ResultStore(result)
    if store.summary.exists() or not store.work.is_dir():
        return ""
    blocks, nuclei = store.progress()
    done = f"{blocks:,} blocks with {nuclei:,} nuclei are done"
    if is_held(store.holder()):
        return f"wsinuc segment is at work on this slide: {done}. The page shows the result when it is finished."
    return (
        f"The run that makes this result was interrupted: {done}. "
        "The same wsinuc segment command goes on where it stopped."
    )
