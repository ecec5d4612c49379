"""Signals that end a command: Ctrl-C, SIGTERM as batch systems send it, SIGHUP of a terminal that is closed.

The first signal is raised on the main thread like Ctrl-C, and the command ends in order: running blocks are
waited for, locks and scratch folders given back. A batch system does not wait for long, so after SIGTERM and
SIGHUP that may take a few seconds and no more; and whoever presses Ctrl-C a second time wants it to end now.
Both are seen to by a thread of its own, because the main thread may be inside a library that takes its time: it
gives back what others wait for, and ends the process.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from wsinuc.leaving import give_all_back

GRACE_S = 8.0
"""For an end in order after SIGTERM; batch systems and containers kill after 10 to 30 s."""
TOGETHER_S = 1.0
"""Signals in so short a time are one: some senders signal a process, and then its whole group."""
GIVING_BACK_S = 2.0
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal has ended the command."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.exit_code = 128 + signum


@contextmanager
def stopping() -> Iterator[None]:
    """Raise Stopped in the block when a signal comes that ends the command; on the main thread only.

    A signal that this process was started to ignore (``nohup``, jobs in the background) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    inner, outer = socket.socketpair()
    inner.setblocking(False)
    handlers = {each: signal.getsignal(each) for each in _SIGNALS}
    handled = [each for each, handler in handlers.items() if handler not in (signal.SIG_IGN, None)]
    threading.Thread(target=_watch, args=(outer, frozenset(handled)), name="wsinuc-signals", daemon=True).start()
    # Python runs handlers on the main thread only, and late when a library holds it; bytes come at once.
    wakeup = signal.set_wakeup_fd(inner.fileno(), warn_on_full_buffer=False)
    for each in handled:
        signal.signal(each, _Raise())
    try:
        yield
    finally:
        for each in handled:
            signal.signal(each, handlers[each])
        signal.set_wakeup_fd(wakeup)
        inner.close()


class _Raise:
    """A handler that raises once: the end in order is not to be interrupted by further signals."""

    def __init__(self) -> None:
        self._raised = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            raise Stopped(signum)


def _watch(signals: socket.socket, ending: frozenset[int]) -> None:
    """Read signals until the other end is closed; end the process when an end in order takes too long."""
    first_at: float | None = None
    deadline: float | None = None
    code = 0
    with signals:
        while True:
            signals.settimeout(None if deadline is None else max(0.0, deadline - time.monotonic()) + 1e-3)
            try:
                numbers = signals.recv(64)
            except TimeoutError:
                _end_now(code)
            if not numbers:
                return
            for signum in ending.intersection(numbers):
                now = time.monotonic()
                code = code or 128 + signum
                first_at = first_at or now
                if now - first_at > TOGETHER_S:
                    _end_now(code)
                if signum != signal.SIGINT and deadline is None:
                    deadline = now + GRACE_S


def _end_now(code: int) -> NoReturn:
    """End the process without waiting for anything but what others wait for."""
    giving = threading.Thread(target=give_all_back, daemon=True)
    giving.start()
    giving.join(GIVING_BACK_S)  # a disk that is away must not keep us
    with suppress(OSError):
        os.write(2, b"ended before running blocks did; run the same command again to continue\n")
    os._exit(code)
