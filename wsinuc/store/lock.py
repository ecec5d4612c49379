"""One process at a time: a file that says who works in a directory.

A process that was killed leaves its file behind. On the same machine that can be found out (no process has that number,
or one that began at another time), and the next run takes over.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from wsinuc.errors import OutputError
from wsinuc.store.files import disk_errors, read_json


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` as the sign that this process works here; a dead process' sign is taken over."""
    me = psutil.Process()
    sign = json.dumps({"pid": me.pid, "started": me.create_time(), "host": socket.gethostname()})
    with disk_errors(path.parent):
        _take(path, sign)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take(path: Path, sign: str) -> None:
    for _ in range(2):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(sign)
            return
        except FileExistsError:
            holder = read_json(path)
            if _is_alive(holder):
                break
            path.unlink(missing_ok=True)
    raise OutputError(
        f"{path.parent.parent} is being written by process {holder.get('pid')} on {holder.get('host')}: "
        f"wait for it, or delete {path} if you know that it is gone"
    )


def _is_alive(holder: Mapping[str, Any]) -> bool:
    """Whether the process that signed still runs; on another machine nobody can know, so it counts as alive."""
    if not holder:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(holder["pid"]).create_time() - holder["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
