"""Processes that belong to this one: signals are its to heed, and its end is theirs.

A terminal sends Ctrl-C, and a batch system SIGTERM, to every process of a command. If worker processes heeded
that, too, they would die in the midst of their tasks, be restarted, and print tracebacks, while this process
tries to end in order. So they never see these signals: this process decides, and tells them by other ways.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = {getattr(signal, name) for name in _NAMES if hasattr(signal, name)}


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes started meanwhile, by this thread or by threads that it starts, get none of these signals.

    The signal mask is inherited by threads and by processes, and so holds from a process' first instruction on,
    long before Python could install a handler there. Threads keep it: a process that they start later is deaf
    as well. A signal that comes meanwhile is delivered at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting the tracker lets signals through again on the thread that does, so it is started first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_parent_alone() -> None:
    """In a deaf child: end when the parent sends SIGTERM, as Dask's nanny does; nobody else may."""
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_wait_for_parents_word, name="wsinuc-sigterm", daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        # macOS has no sigwaitinfo, which tells who sent a signal: better ended by anybody than by nobody.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def end_with_parent() -> None:
    """In a child that ``multiprocessing`` has started: end when the parent is gone, whatever is being done here."""
    threading.Thread(target=_wait_for_parents_end, name="wsinuc-parent", daemon=True).start()


def _wait_for_parents_word() -> None:
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == os.getppid():
            # Not sys.exit, which would end this thread alone.
            os._exit(128 + signal.SIGTERM)


def _wait_for_parents_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
