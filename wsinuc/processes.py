"""Which process this is, said so that any other process can tell later whether it still runs.

A number alone is given out again. The moment of birth tells two owners of a number apart, but wall clocks jump,
and with them every time that is computed from one. Linux counts births in ticks since the machine was started,
and names each start of the machine: neither depends on a clock that anybody sets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

_GONE = "ZXx"
"""States in ``/proc/<pid>/stat`` of a process that has ended and waits for its parent to take note."""


def this_process() -> dict[str, Any]:
    """JSON values by which ``process_lives`` knows this process again."""
    pid = os.getpid()
    return {
        "pid": pid,
        "born": _birth(pid),
        "boot": _boot(),
        "host": socket.gethostname(),
        "pid_space": _pid_space(),
    }


def process_lives(sign: Mapping[str, Any]) -> bool | None:
    """Whether the process that signed still runs; None where that cannot be seen (another machine, a container)."""
    pid = sign.get("pid")
    if not isinstance(pid, int) or pid < 1 or not _is_here(sign):
        return None
    try:
        born = _birth(pid)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    if "born" not in sign:
        return None
    return bool(born == sign["born"])


def is_from_before_restart(sign: Mapping[str, Any]) -> bool:
    """Whether a machine of this name signed before it was started again, or another machine of the same name."""
    before = sign.get("boot")
    now = _boot()
    if sign.get("host") != socket.gethostname() or not before or not now:
        return False
    return bool(before != now)


def _is_here(sign: Mapping[str, Any]) -> bool:
    """Whether the process would be seen from here if it ran: same start of the same machine, same numbering."""
    if sign.get("pid_space", _pid_space()) != _pid_space():
        return False
    boot = _boot()
    if sign.get("boot") and boot:
        return bool(sign["boot"] == boot)
    return bool(sign.get("host") == socket.gethostname())


def _birth(pid: int) -> float:
    """When a process was born: ticks since the machine's start on Linux, elsewhere seconds since 1970.

    Raises
    ------
    psutil.NoSuchProcess
        There is no such process, or it has ended.
    psutil.AccessDenied
        There is one, and no more is to be seen of it.
    """
    try:
        # The name of the program stands in brackets and may hold anything, brackets and blanks as well: hence the last.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return _birth_elsewhere(pid)
    if fields[0] in _GONE:
        raise psutil.NoSuchProcess(pid)
    # "starttime" of proc(5): field 22 from 1, and the first two stand before the bracket.
    return int(fields[19])


def _birth_elsewhere(pid: int) -> float:
    """Without ``/proc``, or where it hides the processes of other users."""
    if psutil.LINUX:
        try:
            # Signal 0 sends nothing, but tells whether there is such a process.
            os.kill(pid, 0)
        except ProcessLookupError:
            raise psutil.NoSuchProcess(pid) from None
        except OSError:
            pass
        raise psutil.AccessDenied(pid)
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(pid)
    return float(process.create_time())


def _boot() -> str:
    """Name of this start of this machine; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _pid_space() -> int:
    """Which numbering of processes this one lives in: containers of one host name do not see each other's."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
