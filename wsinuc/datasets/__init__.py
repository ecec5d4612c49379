"""Annotated images to train and measure with; one reader per way that people lay them out.

`open_dataset` is the only door. A reader is named in `READERS` as text and imported when it is asked for, so that
listing them costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc.errors import ConfigError

if TYPE_CHECKING:
    from wsinuc.datasets.folder import FolderDataset

READERS = {"folder": "wsinuc.datasets.folder:FolderDataset"}
"""Name of a layout -> "module:class"; the class has ``open(path, mpp=...)``."""


def open_dataset(path: Path | str, *, mpp: float | None = None, reader: str = "folder") -> FolderDataset:
    """A data set as a sequence of `LabelledImage`, read one by one when asked for.

    Parameters
    ----------
    path
        Folder of the data set.
    mpp
        um per pixel of all its images; None takes it from the data set, which then must record it.
    reader
        How the folder is laid out; one of `READERS`.

    Raises
    ------
    ConfigError
        There is no such reader.
    DataError
        The folder is not laid out as the reader expects.
    MppError
        The resolution is neither given nor recorded.
    """
    if reader not in READERS:
        raise ConfigError(f"no data set reader is called {reader!r}; there are: {', '.join(sorted(READERS))}")
    module, name = READERS[reader].split(":")
    return getattr(import_module(module), name).open(path, mpp=mpp)
