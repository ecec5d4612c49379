"""One run at a time: a file that says who works in a directory, and that it is still at it.

The holder counts up in its file every ten seconds (the heartbeat). A run that was killed leaves its file
behind; how the next one finds out depends on where it runs:

- on the same machine: no process has that number, or one that was born at another time. It takes over at once;
- on the same machine before it was started again: the next run watches for half a minute whether the heart beats;
- on another machine: the file has not been renewed for five minutes, and is not while the next run
  watches it for half a minute. Until then the next run refuses and says who holds the result.

Clocks jump, and those of machines that share a disk disagree. So no clock decides that a run is dead: watching
does, by the watcher's stop-watch. The age of the last heartbeat only says whether it is worth watching; it is
measured by the clock that stamps the files of the folder. The counter shows life even on a file system that
keeps stamps to itself for a while, and it is written through the descriptor of the holder's own file, so it can
never get into the file of a run that has taken over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wsinuc import own_files
from wsinuc.errors import DataError, LockedError
from wsinuc.leaving import owe, settle
from wsinuc.limits import parse_json
from wsinuc.processes import is_from_before_restart, process_lives, this_process
from wsinuc.store.files import disk_errors

_log = logging.getLogger(__name__)
_CLAIM_S = 10.0
"""How long a claim to remove a lock is respected, in seconds: longer than any file system takes to delete a file."""
_MOST_BYTES = 1 << 16
"""A lock has a few hundred bytes; a larger file is no lock."""
_DIGITS = 10
"""Room for the counter: one beat a second for 300 years."""


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
    """Seconds since the last sign of life, by the clock of the file system; negative where that clock was set back."""
    alive: bool | None
    """None: a process of another machine, of which only the age is known."""


class Lock:
    """A lock that is held; ``check`` says whether it still is."""

    def __init__(self, path: Path, token: str, file: BinaryIO, counter_at: int) -> None:
        self.path = path
        self._token = token
        self._file = file
        self._counter_at = counter_at
        self._beats = 0
        # Given back by a signal handler as well, where no block of ours ends any more.
        self._debt = owe(self.release)

    def check(self) -> None:
        """Raise LockedError when another run has taken over, as it does when this one slept for too long."""
        holder = _read(self.path)
        if holder.get("token") != self._token:
            raise LockedError(
                f"{self.path.parent.parent} was taken over by {_name(holder)}, because this run gave no sign "
                "of life for minutes (was the computer asleep, or the disk away?): let that run finish"
            )

    def beat(self) -> None:
        """Count up, which renews the time stamp as well, unless the file is another run's by now."""
        if _read(self.path).get("token") != self._token:
            return
        self._beats += 1
        try:
            self._file.seek(self._counter_at)
            self._file.write(_digits(self._beats))
            os.fsync(self._file.fileno())
        except OSError:
            # Some file systems refuse even this when they are full, but not a stamp.
            os.utime(self.path)

    def release(self) -> None:
        """Remove the file if it is still ours."""
        if _read(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)
        self._file.close()
        settle(self._debt)


@contextmanager
def locked(path: Path, timing: LockTiming | None = None) -> Iterator[Lock]:
    """Hold ``path`` as the sign that this process works here.

    Raises
    ------
    LockedError
        Another run holds it and may be alive.
    OutputError
        The file cannot be written.
    """
    timing = timing or LockTiming()
    sign = {**this_process(), "token": uuid.uuid4().hex, "heartbeat_s": timing.heartbeat_s, "beat": _digits(0).decode()}
    with disk_errors(path.parent):
        lock = _take(path, sign, timing)
    stop = threading.Event()
    # A daemon, so that it keeps no process alive that has come to its end.
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
    return Holder(pid=sign.get("pid"), host=str(sign.get("host", "?")), age_s=age, alive=process_lives(sign))


def filesystem_now(folder: Path) -> float:
    """The time (s since 1970) by the clock that stamps the files of ``folder``; this machine's
    where it is read-only."""
    probe = folder / f"lock.probe-{secrets.token_hex(8)}"
    try:
        with own_files.create(probe) as file:
            file.write(b"now")
            file.flush()
            # The stamp of a network file system is the server's only when the bytes have arrived there.
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
        except (OSError, ValueError) as error:
            # A share that is away comes back, and the work waits for it likewise.
            _log.debug("cannot renew %s: %s", lock.path, error)


def _take(path: Path, sign: Mapping[str, Any], timing: LockTiming) -> Lock:
    """Create the file, after removing one whose holder is gone. Raises LockedError."""
    # Several attempts: between the removal of a dead lock and the new one another run may be quicker.
    for _ in range(3):
        own_files.check_file(path)
        try:
            return _new_lock(path, sign)
        except FileExistsError:
            sign_there = _read(path)
            if sign_there and not _is_gone(path, sign_there, timing):
                raise _refusal(path, sign_there) from None
            _remove(path, sign_there)
    raise _refusal(path, _read(path))


def _new_lock(path: Path, sign: Mapping[str, Any]) -> Lock:
    """Write the file if there is none of its name; it stays open for the heartbeat. Raises FileExistsError."""
    content = json.dumps(sign).encode()
    # "x" fails at a link, too, even at one that points nowhere.
    file = path.open("xb", buffering=0)
    try:
        file.write(content)
    except OSError:
        file.close()
        path.unlink(missing_ok=True)
        raise
    return Lock(path, sign["token"], file, content.rindex(_digits(0)))


def _digits(number: int) -> bytes:
    """A counter that always takes the same room."""
    return str(number).zfill(_DIGITS).encode()


def _is_gone(
    path: Path, sign: Mapping[str, Any], timing: LockTiming, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Whether the holder is dead for certain: no such process here, or no heartbeat from elsewhere for a long time."""
    alive = process_lives(sign)
    if alive is not None:
        return not alive
    if "heartbeat_s" not in sign:
        # Written by a version without heartbeat: nobody can know.
        return False
    try:
        stamp = path.stat().st_mtime_ns
        # A stamp far in the future tells as little as one far in the past: clocks have been set.
        is_fresh = abs(filesystem_now(path.parent) - stamp / 1e9) < timing.stale_s
        if is_fresh and not is_from_before_restart(sign):
            return False
        _log.warning("%s: no sign of life from %s for long, watching for %g s", path, _name(sign), timing.watch_s)
        end = time.monotonic() + timing.watch_s
        while time.monotonic() < end:
            sleep(min(1.0, timing.watch_s / 5))
            # The stamp or the counter: some file systems keep stamps to themselves for a while.
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
        _await_end(claim)
        return
    try:
        # Judged anew under the claim: another run may have put its own lock there meanwhile.
        if _read(path) == judged:
            path.unlink(missing_ok=True)
    finally:
        claim.unlink(missing_ok=True)


def _await_end(claim: Path) -> None:
    """Wait until a claim is given back, and remove one that is not, of a run that died in the instant between."""
    with suppress(FileNotFoundError):
        first = claim.lstat()
        end = time.monotonic() + _CLAIM_S
        while time.monotonic() < end:
            time.sleep(0.05)
            now = claim.lstat()
            # It is another run's claim by now.
            if (now.st_ino, now.st_mtime_ns) != (first.st_ino, first.st_mtime_ns):
                return
        claim.unlink()


def _read(path: Path) -> dict[str, Any]:
    """What a lock says. It is empty for a moment when it is new, so an empty one is looked at again."""
    for _ in range(10):
        sign = _read_once(path)
        if sign or not os.path.lexists(path):
            return sign
        time.sleep(0.02)
    return {}


def _read_once(path: Path) -> dict[str, Any]:
    """What a lock says at this moment; empty when that is nothing, or no lock lies there."""
    try:
        content = parse_json(own_files.read(path, limit=_MOST_BYTES), str(path))
    except (OSError, DataError):
        return {}
    if isinstance(content, dict):
        return content
    return {}


def _name(sign: Mapping[str, Any]) -> str:
    return f"process {sign.get('pid', '?')} on {sign.get('host', '?')}"


def _refusal(path: Path, sign: Mapping[str, Any]) -> LockedError:
    holder = look(path)
    life = ""
    if holder and not holder.alive:
        life = f", last sign of life {max(0.0, holder.age_s):.0f} s ago"
    return LockedError(
        f"{path.parent.parent} is being written by {_name(sign)}{life}: "
        f"wait for it, or delete {path} if you know that it is gone"
    )
