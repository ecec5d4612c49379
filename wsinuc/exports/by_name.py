"""Files and folders that another library writes by their name, and that exist whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsinuc import durable, own_files
from wsinuc.errors import OutputError, WsinucError
from wsinuc.regular import require_parent
from wsinuc.store.files import remove


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """The name of a file or folder to make, which becomes ``path`` when the block ends, and vanishes when it raises.

    A file that lies at ``path`` is replaced.

    Raises
    ------
    OutputError
        ``path`` is a folder, the one that is to hold it is missing or not writable, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "counts.txt"
    >>> with appearing(path) as partial:
    ...     _ = partial.write_text("3 nuclei")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('3 nuclei', 1)
    """
    require_parent(path)
    # Nobody's folder is removed to make room.
    if path.is_dir():
        raise OutputError(f"{path} is a folder that is there already: remove it, or choose another place")
    partial = own_files.beside(path)
    try:
        yield partial
        _sync(partial)
        durable.rename(partial, path)
    except OSError as error:
        # A result that cannot be read, say, is an OSError as well.
        if isinstance(error, WsinucError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # What went wrong first is the error to report.
        with suppress(OSError):
            remove(partial)


def _sync(path: Path) -> None:
    if path.is_dir():
        durable.sync_tree(path)
    else:
        durable.sync(path)
