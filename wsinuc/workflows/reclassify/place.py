"""Where a classified result goes: whether it may be written there, where it is made, and how it takes its name.

``slide.wsinuc.<random>.partial`` beside the result holds ``writer.json``, which says what process writes, ``result``,
which is made, and for a moment ``replaced``, the result that had the name until then. So whoever comes next can tell
what is still at work from what nobody finishes any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsinuc import durable, own_files
from wsinuc.errors import OutputError
from wsinuc.regular import require_parent
from wsinuc.store import ResultStore
from wsinuc.store.files import read_json, remove, write_json
from wsinuc.store.outputs import OUTPUTS, SUMMARY
from wsinuc.store.processes import process_lives, this_process
from wsinuc.workflows.reclassify.tables import ResultTable

WRITER = "writer.json"
RESULT = "result"
REPLACED = "replaced"


def check_out(table: ResultTable, out: Path, *, overwrite: bool) -> None:
    """Raise OutputError where the new result of a table may not be written to ``out``."""
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
    for left in left_behind(out):
        _settle(left, out)
    area = own_files.beside(out)
    area.mkdir()
    try:
        write_json(this_process(), area / WRITER, sync=False)
        (area / RESULT).mkdir()
        yield area / RESULT
    finally:
        # What went wrong first is the error to report.
        with suppress(OSError):
            _settle(area, out)


def take_place(folder: Path, out: Path) -> None:
    """Give a complete folder of `made_aside` its name; the one that had it until then goes with the block."""
    if not out.exists():
        durable.rename(folder, out)
        return
    if durable.exchange(folder, out):
        return
    replaced = folder.with_name(REPLACED)
    durable.rename(out, replaced)
    try:
        durable.rename(folder, out)
    except OSError:
        durable.rename(replaced, out)
        raise


def left_behind(out: Path) -> list[Path]:
    """Folders in which a process that was killed has made a result; those of other machines cannot be told."""
    folders = [path for path in own_files.named_beside(out) if own_files.what_is(path) == "folder"]
    return [folder for folder in folders if process_lives(read_json(folder / WRITER)) is False]


def _settle(area: Path, out: Path) -> None:
    """Remove what is left of the making of a result, but for what is worth keeping."""
    replaced = area / REPLACED
    if replaced.exists() and not out.exists():
        durable.rename(replaced, out)
    for old in (area / RESULT, replaced):
        if old.exists() and out.exists():
            _hand_over(old, out)
    remove(area)


def _hand_over(old: Path, out: Path) -> None:
    """Move what users keep in a result's folder, which is theirs, to the result that has taken its place."""
    for path in old.iterdir():
        if path.name not in (*OUTPUTS, SUMMARY, ".run"):
            durable.rename(path, out / path.name)
