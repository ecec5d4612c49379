"""One run at a time: a file that says who works in a directory, and that it is still at it.

The holder renews its file's time stamp every ten seconds (the heartbeat). A run that was killed leaves its file behind;
how the next one finds out depends on where it runs:

- on the same machine: no process has that number, or one that began at another time. It takes over at once;
- on another machine: the file has not been renewed for five minutes, and is not while the next run
  watches it for half a minute. Until then the next run refuses and says who holds the result.

The clocks of machines that share a disk often disagree, so no clock of a machine is compared with a
time stamp: "now" is the stamp that the shared file system gives to a file written at this moment in
the same folder. Watching needs no clock but one's own stop-watch, so even a file system that takes
stamps from its clients never costs a live run its lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from wsinuc.errors import LockedError
from wsinuc.store.files import disk_errors, read_json

_log = logging.getLogger(__name__)
_CLAIM_S = 10.0  # longer than any file system takes to delete a file


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTiming:
    """How often a sign of life is given, and how long it is waited for. Seconds."""

    heartbeat_s: float = 10.0
    stale_s: float = 300.0
    """Age of the last sign of life from which a lock of another machine may be stale."""
    watch_s: float = 30.0
    """How long such a lock is watched before it is taken over; several heartbeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, as far as its file tells."""

    pid: int | None
    host: str
    age_s: float
    """Since the last sign of life, by the clock of the file system; negative where that clock was set back."""
    alive: bool | None
    """None: a process of another machine, of which only the age is known."""


class Lock:
    """A lock that is held; ``check`` says whether it still is."""

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self._token = token

    def check(self) -> None:
        """Raise LockedError when another run has taken over, as it does when this one slept for too long."""
        holder = _read(self.path)
        if holder.get("token") != self._token:
            raise LockedError(
                f"{self.path.parent.parent} was taken over by {_name(holder)}, because this run gave no sign "
                "of life for "
                "minutes (was the computer asleep, or the disk away?): let that run finish"
            )

    def beat(self) -> None:
        """Renew the time stamp, unless the file is another run's by now."""
        if _read(self.path).get("token") == self._token:
            os.utime(self.path)

    def release(self) -> None:
        """Remove the file if it is still ours."""
        if _read(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, timing: LockTiming | None = None) -> Iterator[Lock]:
    """Hold ``path`` as the sign that this process works here.

    Raises LockedError when another run holds it and may be alive, OutputError when the file cannot be written.
    """
    timing = timing or LockTiming()
    me = psutil.Process()
    sign = {
        "pid": me.pid,
        "started": me.create_time(),
        "host": socket.gethostname(),
        "pid_space": _pid_space(),
        "token": uuid.uuid4().hex,
        "heartbeat_s": timing.heartbeat_s,
    }
    with disk_errors(path.parent):
        _take(path, sign, timing)
    lock = Lock(path, sign["token"])
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, stop, timing.heartbeat_s), name="wsinuc-lock", daemon=True)
    heart.start()
    try:
        yield lock
    finally:
        stop.set()
        heart.join()
        lock.release()


def look(path: Path, probe_in: Path | None = None) -> Holder | None:
    """Who holds the lock ``path``; None when nobody does.

    Changes nothing, but for a file that is there for a moment in ``probe_in`` (default: beside the lock), see
    ``filesystem_now``.
    """
    sign = _read(path)
    if not sign:
        return None
    try:
        age = filesystem_now(probe_in or path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return None
    return Holder(pid=sign.get("pid"), host=str(sign.get("host", "?")), age_s=age, alive=_process_lives(sign))


def filesystem_now(folder: Path) -> float:
    """The time (s since 1970) by the clock that stamps the files of ``folder``; this machine's
    where it is read-only."""
    probe = folder / f"lock.probe-{uuid.uuid4().hex[:8]}"
    try:
        with probe.open("w", encoding="utf-8") as file:
            file.write("now")
            file.flush()
            os.fsync(file.fileno())
            now = os.fstat(file.fileno()).st_mtime
        probe.unlink(missing_ok=True)
    except OSError:
        return time.time()
    return now


def _beat(lock: Lock, stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        try:
            lock.beat()
        except OSError as error:  # a share that is away for a while comes back, and the work waits for it likewise
            _log.debug("cannot renew %s: %s", lock.path, error)


def _take(path: Path, sign: Mapping[str, Any], timing: LockTiming) -> None:
    """Create the file, after removing one whose holder is gone. Raises LockedError."""
    for _ in range(3):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(sign))
            return
        except FileExistsError:
            found = _read(path)
            if found and not _is_gone(path, found, timing):
                raise _refusal(path, found) from None
            _remove(path, found)
    raise _refusal(path, _read(path))


def _is_gone(
    path: Path, sign: Mapping[str, Any], timing: LockTiming, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Whether the holder is dead for certain: no such process here, or no heartbeat from elsewhere for a long time."""
    alive = _process_lives(sign)
    if alive is not None:
        return not alive
    if "heartbeat_s" not in sign:
        return False  # written by a version without heartbeat: nobody can know
    try:
        stamp = path.stat().st_mtime_ns
        if abs(filesystem_now(path.parent) - stamp / 1e9) < timing.stale_s:
            return False
        _log.warning("%s: no sign of life from %s for long, watching for %g s", path, _name(sign), timing.watch_s)
        end = time.monotonic() + timing.watch_s
        while time.monotonic() < end:
            sleep(min(1.0, timing.watch_s / 5))
            if path.stat().st_mtime_ns != stamp or _read(path) != sign:
                return False
    except FileNotFoundError:
        pass  # given back while we looked
    return True


def _remove(path: Path, judged: Mapping[str, Any]) -> None:
    """Delete a dead lock. Of all that judged it, one at a time may, so that none deletes what another has put there."""
    name = hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:16]
    claim = path.with_name(f"lock.removing-{name}")
    try:
        claim.open("x").close()
    except FileExistsError:
        with suppress(FileNotFoundError):
            if filesystem_now(path.parent) - claim.stat().st_mtime > _CLAIM_S:
                claim.unlink()  # of a run that died in the instant between
        time.sleep(0.05)
        return
    try:
        if _read(path) == judged:
            path.unlink(missing_ok=True)
    finally:
        claim.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """What a lock says. It is empty for a moment when it is new, so an empty one is looked at again."""
    for _ in range(10):
        if (found := read_json(path)) or not path.exists():
            return found
        time.sleep(0.02)
    return {}


def _process_lives(sign: Mapping[str, Any]) -> bool | None:
    """Whether the process that signed still runs; None where its processes cannot be seen (another
    machine, a container)."""
    if sign.get("host") != socket.gethostname() or sign.get("pid_space", _pid_space()) != _pid_space():
        return None
    try:
        process = psutil.Process(sign["pid"])
        same = abs(process.create_time() - sign["started"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _pid_space() -> int:
    """Which numbering of processes this one lives in: containers of one host name do not see each other's."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _name(sign: Mapping[str, Any]) -> str:
    return f"process {sign.get('pid', '?')} on {sign.get('host', '?')}"


def _refusal(path: Path, sign: Mapping[str, Any]) -> LockedError:
    holder = look(path)
    seen = f", last sign of life {max(0.0, holder.age_s):.0f} s ago" if holder and not holder.alive else ""
    return LockedError(
        f"{path.parent.parent} is being written by {_name(sign)}{seen}: "
        f"wait for it, or delete {path} if you know that it is gone"
    )
