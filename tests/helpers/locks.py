"""Holders of locks: another process of this machine, and hearts that beat as those of other machines do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wsinuc.store.lock import LockTiming

QUICK = LockTiming(heartbeat_s=0.05, stale_s=60.0, watch_s=0.3)
BEAT_S = 0.03
HOLDER = """
import sys
from pathlib import Path
from wsinuc.store.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock until the block ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    try:
        yield child
    finally:
        child.communicate()


@contextmanager
def beating(beat: Callable[[], object]) -> Iterator[None]:
    """``beat`` is called again and again while the block runs."""
    stop = threading.Event()

    def heart() -> None:
        while not stop.wait(BEAT_S):
            beat()

    thread = threading.Thread(target=heart)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
