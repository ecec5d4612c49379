"""Where a classified result goes: whether it may be written there, and how it takes its name when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsinuc import durable, own_files
from wsinuc.errors import OutputError
from wsinuc.regular import require_parent
from wsinuc.store import ResultStore
from wsinuc.store.files import remove
from wsinuc.store.outputs import OUTPUTS, SUMMARY
from wsinuc.workflows.reclassify.tables import ResultTable


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
def folder_beside(out: Path) -> Iterator[Path]:
    """A new folder beside ``out``, which vanishes when what is made in it does not become whole."""
    folder = own_files.beside(out)
    folder.mkdir()
    try:
        yield folder
    finally:
        with suppress(OSError):
            remove(folder)


def take_place(folder: Path, out: Path) -> None:
    """Give a complete folder its name; the one that had it until then is removed."""
    if not out.exists():
        durable.rename(folder, out)
        return
    old = folder
    if not durable.exchange(folder, out):
        old = own_files.beside(out)
        durable.rename(out, old)
        try:
            durable.rename(folder, out)
        except OSError:
            durable.rename(old, out)
            raise
    # Files that users keep in a result's folder are theirs.
    for path in old.iterdir():
        if path.name not in (*OUTPUTS, SUMMARY, ".run"):
            durable.rename(path, out / path.name)
    shutil.rmtree(old, ignore_errors=True)
