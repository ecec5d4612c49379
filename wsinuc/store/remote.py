"""A result below a URL: made in a working area on a file system, brought to the store when it is whole.

An object store has no rename, no append and no locks, so nothing that must be resumed lies there. While a result is
incomplete two small objects say so, below ``.run/`` as on disk:

    .run/lock          who is at it; made by a conditional put, so that of two runs one is refused
    .run/incomplete    what lies here is ours and not whole

``summary.json`` goes first when a result is replaced and comes last when it is brought. The lock
names the working area: a run that was killed is continued from its working area and takes its own
lock over; from anywhere else the lock holds. Stores that know no conditional put are asked twice,
which leaves a gap of a moment.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsinuc.errors import ConfigError, DataError, OutputError, RemoteError
from wsinuc.limits import parse_json
from wsinuc.store.files import as_json
from wsinuc.store.manifest import is_made_by_us, with_manifest
from wsinuc.store.outputs import OUTPUTS, SUMMARY
from wsinuc.store.upload import Digest, list_sizes, upload
from wsinuc.urls import PathLike, Url, remote_errors

LOCK = ".run/lock"
INCOMPLETE = ".run/incomplete"

_log = logging.getLogger(__name__)


def working_area(url: Url, parent: PathLike | None) -> Path:
    """The folder in which the result for ``url`` is made: one of its own in ``parent``, by default the user's cache."""
    if parent is None:
        parent = user_cache() / "wsinuc"
    return Path(parent) / f"{url.name or 'result'}-{hashlib.sha256(str(url).encode()).hexdigest()[:16]}"


def user_cache() -> Path:
    """The folder for caches of this user; raises ConfigError for a user without a home."""
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        return Path(cache)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise ConfigError("this user has no home, where results for URLs are made: give --work DIR") from error


class RemoteResult:
    """The folder of one result below a URL.

    Raises
    ------
    ConfigError
        The URL is signed, so it stands for one file and cannot be a folder.
    """

    def __init__(self, url: Url) -> None:
        if url.has_query:
            raise ConfigError(f"{url}: a result is a folder, and a URL with '?' stands for one file: leave it out")
        self.url = url

    def check_ours(self) -> None:
        """Raise OutputError when there is something that wsinuc has not made; RemoteError when nobody can look."""
        names = list_sizes(self.url)
        ours = not names or LOCK in names or INCOMPLETE in names
        if not ours and not is_made_by_us(self.url):
            raise OutputError(f"{self.url} is not empty and holds no wsinuc result: choose another -o, or empty it")

    @contextmanager
    def held(self, owner: str) -> Iterator[None]:
        """Hold the lock as the working area ``owner``; raises OutputError when another working area has it."""
        self._take(owner)
        try:
            yield
        finally:
            try:
                self._delete([LOCK])
            except RemoteError as error:
                # The lock is ours, and the next run takes it over; what happened before this matters more.
                _log.warning("%s stays locked until the same command is run again: %s", self.url, error)

    def begin(self) -> None:
        """Mark the folder as incomplete, and take away the summary of an earlier result."""
        self._put(INCOMPLETE, {"made_by": "wsinuc"})
        self._delete([SUMMARY])

    def publish(self, folder: Path, files: Mapping[str, Digest], summary: Mapping[str, Any], notes: Path) -> None:
        """Bring the files of ``folder``, remove what an earlier result had besides, then write the summary.

        May be called again after any failure. Raises RemoteError and OutputError, see ``upload``.
        """
        self.begin()
        upload(folder, files, self.url, notes)
        # The summary comes last: where it is, the result is complete.
        keep = {*files, SUMMARY, LOCK, INCOMPLETE}
        self._delete([name for name in list_sizes(self.url) if name not in keep and name.partition("/")[0] in OUTPUTS])
        self._put(SUMMARY, with_manifest(summary, files))
        self._delete([INCOMPLETE])

    def mend(self, owner: str) -> None:
        """Clear up behind a run of the working area ``owner`` that was killed after it had written the summary."""
        holder = self._read(LOCK).get("owner")
        if holder is None:
            self._delete([INCOMPLETE])
        elif holder == owner:
            # Not another's lock: that run may be about to replace the result.
            self._delete([INCOMPLETE, LOCK])

    def _take(self, owner: str) -> None:
        sign = {
            "owner": owner,
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        holder = self._read(LOCK)
        if not holder:
            try:
                self._put(LOCK, sign, mode="create")
            except (FileExistsError, RemoteError) as error:
                # Taken just now, or a store that knows no conditional put.
                holder = self._read(LOCK)
                if not holder and isinstance(error, RemoteError):
                    self._put(LOCK, sign)
        elif holder.get("owner") == owner:
            self._put(LOCK, sign)
        # Read once more, because two runs may have put it at the same moment: the later one has it.
        holder = self._read(LOCK)
        if holder.get("owner") != owner:
            raise OutputError(
                f"{self.url} is being written by a run on {holder.get('host')} since {holder.get('since')}: "
                "wait for it; if it was killed, continue it with its --work, "
                f"or delete {self.url / LOCK} if it is gone for good"
            )

    def _read(self, name: str) -> dict[str, Any]:
        """A small JSON object, empty when it is not there."""
        fs, path = (self.url / name).filesystem()
        with remote_errors(self.url):
            try:
                content = parse_json(fs.cat_file(path), name)
            except (FileNotFoundError, DataError):
                return {}
        if isinstance(content, dict):
            return content
        return {}

    def _put(self, name: str, content: Mapping[str, Any], **how: Any) -> None:
        fs, path = (self.url / name).filesystem()
        with remote_errors(self.url / name):
            fs.pipe_file(path, as_json(content), **how)

    def _delete(self, names: list[str]) -> None:
        """Delete objects; those that are not there are no error."""
        fs, root = self.url.filesystem()
        # Some stores raise for objects that are not there, and some do not.
        present = list_sizes(self.url).keys() & names
        with remote_errors(self.url):
            if present:
                fs.rm([f"{root}/{name}" for name in sorted(present)])
