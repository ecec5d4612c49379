"""Memory that one tile has freed, kept for the next one instead of given back to the system.

A network's activations are tens of megabytes each. For arrays of that size the C library of Linux asks the system
anew every time and gives the pages back at once, and the system clears every page before it hands it out: on a CPU a
third of the time of a slide, in millions of page faults. PyTorch keeps no buffers of its own there.
"""

from __future__ import annotations

import ctypes
import os
import threading

import psutil

# From glibc's malloc.h, where they are part of its stable interface.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_ARENA_MAX = -8

KEPT_BYTES = 256 * 2**20
"""Free memory at the end of the heap above which it goes back to the system: about what one tile of the shipped
models takes, so that it stays between two tiles and goes after the last one."""
HOLES_ABOVE_BYTES = 1000 * 2**20
"""Resident memory above which free pages between arrays in use go back to the system: below the 1.3 GB that a process
may take, by what one block adds."""
ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_ARENA_MAX": "1",
}
"""The same settings for a process that is yet to start, whose threads may begin before anybody can ask its allocator:
a worker of Dask for one."""
_keeping = threading.Event()
"""Whether the allocator of this process, of which there is one, was told to keep what is freed."""
_TUNED_BY_USER = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "LD_PRELOAD")


def environment_of_children() -> dict[str, str]:
    """Variables with which child processes keep freed memory; none where a user has tuned the allocator."""
    if _is_tuned_by_user() or not _is_glibc():
        return {}
    return dict(ENVIRONMENT)


def keep_freed_memory() -> bool:
    """Let this process use freed memory again, large arrays included; call it before threads are started.

    It concerns the whole process, so nothing is changed where a user has tuned the allocator by the environment.

    Returns
    -------
    Whether the allocator is glibc's and was told so. Others, those of macOS and Windows, keep freed memory anyhow.
    """
    if all(os.environ.get(name) == value for name, value in ENVIRONMENT.items()) and _is_glibc():
        # The process was started so.
        _keeping.set()
        return True
    if _is_tuned_by_user() or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # A mapping of its own is what goes back to the system at once.
    done = mallopt(_MMAP_MAX, 0)
    done &= mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    # Only the main heap takes arrays of any size, and memory that one thread has freed serves the others there.
    done &= mallopt(_ARENA_MAX, 1)
    if done:
        _keeping.set()
    return bool(done)


def give_back_holes(above_bytes: int = HOLES_ABOVE_BYTES) -> bool:
    """Give free pages between arrays in use back to the system, where this process holds much; call it between blocks.

    Nothing is done where `keep_freed_memory` has changed nothing, on a GPU for one. Kept memory is never handed out
    whole again: arrays that outlive a tile lie between what its tiles have freed, and with each block the holes become
    more. Clearing the pages that are needed again costs about a tenth of a second of
    CPU, so nothing is done while memory is low.

    Returns
    -------
    Whether memory was given back.
    """
    if not _keeping.is_set() or psutil.Process().memory_info().rss <= above_bytes:
        return False
    return bool(ctypes.CDLL(None).malloc_trim(0))


def _is_tuned_by_user() -> bool:
    return any(name in os.environ for name in _TUNED_BY_USER)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
