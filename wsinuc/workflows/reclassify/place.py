"""Where a classified result goes: whether it may be written there, and where it is made.

It is made aside (`wsinuc.aside`), in ``result``. When the result that had the name until then goes, what users keep in
its folder moves on to the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsinuc import aside, durable, own_files
from wsinuc.errors import OutputError
from wsinuc.regular import require_parent
from wsinuc.store import ResultStore
from wsinuc.store.outputs import OUTPUTS, SUMMARY
from wsinuc.workflows.reclassify.tables import ResultTable

RESULT = "result"


def check_out(table: ResultTable, out: Path, *, overwrite: bool) -> None:
    """Raise OutputError where the new result of a table may not be written to ``out``."""
    own_files.check_outside_results(out)
    require_parent(out)
    own_files.check_folder(out)
    if not out.exists():
        return
    store = ResultStore(out)
    if not store.is_ours:
        raise OutputError(f"{out} is there and is no result of wsinuc, so it is not replaced: choose another -o")
    if store.holder() is not None:
        raise OutputError(f"a run of wsinuc segment is at work in {out}: wait for it, or choose another -o")
    if not overwrite:
        raise OutputError(f"{out} holds a result already: add --overwrite to replace it, or choose another -o")


@contextmanager
def made_aside(out: Path) -> Iterator[Path]:
    """A new folder in which a result is made; whatever of it has not taken its place at the end of the block goes.

    What killed processes have left of the same result goes first.

    Raises
    ------
    OSError
        The folder cannot be made.
    """
    with aside.area_beside(out, _settle) as area:
        (area / RESULT).mkdir()
        yield area / RESULT


def _settle(area: Path, out: Path) -> None:
    """Remove what is left of the making of a result, but for what is worth keeping."""
    replaced = area / aside.REPLACED
    if replaced.exists() and not out.exists():
        durable.rename(replaced, out)
    for old in (area / RESULT, replaced):
        if old.exists() and out.exists():
            _hand_over(old, out)
    aside.settle(area, out)


def _hand_over(old: Path, out: Path) -> None:
    """Move what users keep in a result's folder, which is theirs, to the result that has taken its place."""
    for path in old.iterdir():
        if path.name not in (*OUTPUTS, SUMMARY, ".run"):
            durable.rename(path, out / path.name)
