"""Memory that one tile has freed, kept for the next one instead of given back to the system.

A network's activations are tens of megabytes each. For arrays of that size the C library of Linux asks the system
anew every time and gives the pages back at once, and the system clears every page before it hands it out: on a CPU a
third of the time of a slide, in millions of page faults. PyTorch keeps no buffers of its own there.
"""

from __future__ import annotations

import ctypes
import os

# From glibc's malloc.h, where they are part of its stable interface.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_ARENA_MAX = -8

KEPT_BYTES = 256 * 2**20
"""Free memory at the end of the heap above which it goes back to the system: about what one tile of the shipped
models takes, so that it stays between two tiles and goes after the last one."""
_TUNED_BY_USER = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let this process use freed memory again, large arrays included; call it before threads are started.

    It concerns the whole process, so nothing is changed where a user has tuned the allocator by the environment.

    Returns
    -------
    Whether the allocator is glibc's and was told so. Others, those of macOS and Windows, keep freed memory anyhow.
    """
    if any(name in os.environ for name in _TUNED_BY_USER) or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # A mapping of its own is what goes back to the system at once.
    done = mallopt(_MMAP_MAX, 0)
    done &= mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    # Only the main heap takes arrays of any size, and memory that one thread has freed serves the others there.
    done &= mallopt(_ARENA_MAX, 1)
    return bool(done)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
