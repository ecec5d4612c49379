"""Loops that numba compiles: one decorator for all of them.

The first command on a new machine waits for the compiler, so kernels are written for it: plain loops over numbers.
NumPy's functions (``argsort``, ``max``), assignments of slices and arithmetic of whole arrays compile whole algorithms
of their own, with their error messages; each type of array compiles a kernel once more.

Compiling takes seconds, so the machine code is kept: beside the package, else in the user's cache
(numba chooses, and ``NUMBA_CACHE_DIR`` overrides it). In a container without a home and with a
read-only package neither can be written, and numba would raise. Then a private folder among the
temporary files is used; without one the code is compiled in memory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.core.config

settings: Any = numba.core.config  # its names are made from the environment when it is imported
OPTIONS: dict[str, Any] = {
    "nogil": True,
    # Nobody calls kernels from C, and compiling takes a twentieth less without a way to.
    "no_cfunc_wrapper": True,
}
Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """The function compiled at its first call, without the GIL, its machine code kept where there is room."""
    if settings.CACHE_DIR or _has_home():
        # "cannot cache function: no locator available".
        with contextlib.suppress(RuntimeError):
            return _compiled(function)
    folder = private_folder()
    if folder is not None:
        with contextlib.suppress(RuntimeError):
            return _compiled_in(folder, function)
    return cast(Function, numba.njit(**OPTIONS)(function))


def private_folder() -> Path | None:
    """A folder among the temporary files that nobody else can write; None where none can be made.

    What lies in it is unpickled by numba, so a folder that another user has made under our name is not used.
    """
    try:
        temporary = Path(tempfile.gettempdir())
        # Python's last resort, and no place for what people did not ask for.
        if temporary == Path.cwd():
            return None
        folder = temporary / f"wsinuc-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # Not stat: a link that another user has made shows as one.
        status = folder.lstat()
    except (OSError, AttributeError):  # no room anywhere; no user ids on Windows
        return None
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    if is_ours and os.access(folder, os.W_OK):
        return folder
    return None


def _has_home() -> bool:
    """Without a home numba would make a folder named ``~`` in the current one, and load code from it."""
    return os.path.isabs(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~"))


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(cache=True, **OPTIONS)(function))


def _compiled_in(folder: Path, function: Function) -> Function:
    """Numba takes the folder from a setting, which others may rely on; the decorator reads it, so it is put back."""
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder)
    try:
        return _compiled(function)
    finally:
        settings.CACHE_DIR = before
