"""What a result looks like on disk, and what of it is already done.

``<stem>.wsinuc/`` holds, once complete::

    nuclei/part-00000.parquet ...   the table, ids 1..N, one part per block that owns nuclei
    labels.ome.zarr                 instance ids and classes as images
    nuclei.geojson                  (or .zip) for QuPath
    preview.png
    report.html                     one page for people, unless it was left out
    summary.json                    written last: where it is, the result is complete

and, only while it is being made, ``.run/``::

    lock            who is at it
    settings.json   what the run was asked for; a run with other settings never mixes with it
    input.json      SHA-256 of the slide, where --verify-input asked for it
    calibration     what the segmenter was fitted to the slide with
    stains          the slide's stain vectors, where they are fitted
    blocks/         one Parquet shard per finished block that owns nuclei, and classes of pixels (``pieces``)
    done/           one ledger entry per finished block, written after its shard, naming the shard's hash
    parts           hashes of the numbered parts of the table
    ready/          outputs being written; they move out by a rename when all of them are whole

A block counts as done by its ledger entry alone, so a run can be killed at any moment: what was
half-written lies in ``.run`` and is done again. The summary lists the outputs with their hashes
(``manifest``): a result whose files are others is damaged, which is never taken for complete, and
never a reason to throw an unfinished run's blocks away.

A result may also lie below a URL. Then the directory is a working area (``remote.working_area``), and publishing
brings the outputs to the store; two more things lie in ``.run/``: ``ready.json``, the hash of each finished output, so
that an upload goes on without making them again, and ``uploaded``, what has arrived.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from wsinuc import durable
from wsinuc.errors import DamageError, OutputError
from wsinuc.nuclei import Nuclei, read_nuclei, write_nuclei
from wsinuc.own_files import beside, check_folder
from wsinuc.store import owned
from wsinuc.store.files import disk_errors, remove, write_json
from wsinuc.store.ledger import Entry, changes, read_entry, read_sealed, settings_hash, write_entry, write_sealed
from wsinuc.store.lock import Holder, Lock, locked, look
from wsinuc.store.manifest import ABSENT, Inspection, inspect, is_made_by_us, with_manifest
from wsinuc.store.outputs import OUTPUTS, SUMMARY, part_name
from wsinuc.store.parts import NumberedParts
from wsinuc.store.pieces import entry_path, is_whole, shard_path
from wsinuc.store.remote import RemoteResult, working_area
from wsinuc.store.upload import Digest, digests
from wsinuc.urls import PathLike, PlaceLike, Url, to_output

MAX_ID = 2**32 - 1
"""Largest id of a nucleus: the label image holds uint32."""

_log = logging.getLogger(__name__)


class ResultStore:
    """The directory of one result; create with ``open_run`` to write, or directly to look.

    Parameters
    ----------
    out
        The result's own directory, or its URL.
    work
        For a URL: the folder that holds working areas. Every worker must see it; the user's cache by default.
    """

    def __init__(self, out: PlaceLike, work: PathLike | None = None) -> None:
        self.out = to_output(out)
        self.remote: RemoteResult | None = None
        if isinstance(self.out, Url):
            self.remote = RemoteResult(self.out)
            self.directory = working_area(self.out, work)
        else:
            self.directory = self.out
        self.work = self.directory / ".run"
        self.ready = self.work / "ready"
        self.summary = self.directory / SUMMARY
        self.parts = NumberedParts(self.ready, self.work / "parts")
        self._lock: Lock | None = None
        self._area: tuple[int, int] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether wsinuc has made this directory's content."""
        if self.work.is_dir():
            return all(owned.knows(path.name) for path in self.work.iterdir())
        return is_made_by_us(self.directory)

    @property
    def is_unfinished(self) -> bool:
        """Whether a run has left blocks here, or at least what it was asked for."""
        return bool(read_sealed(self.work / "settings.json")) or any((self.work / "done").glob("*.json"))

    def made(self) -> dict[str, Any]:
        """The summary of a complete result that wsinuc has made, from where the result lies; else empty.

        Raises
        ------
        DamageError
            The result is damaged, by the names and sizes of its files, and there is no unfinished run to go on with.
        RemoteError
            Its store is out of reach.
        """
        inspection = inspect(self.out)
        self._check_damage(inspection)
        if inspection.is_whole:
            return dict(inspection.made.content)
        return {}

    def clear_up(self) -> None:
        """Remove what is left of a run that was killed after it had completed the result. Raises RemoteError."""
        if self.remote is not None:
            self.remote.mend(self._owner(make=False))
        if owned.is_known(self.work):
            self._sweep()

    @contextmanager
    def open_run(self, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Iterator[Self]:
        """Hold the directory for one run, new or continued.

        Parameters
        ----------
        settings
            Identity of the run, JSON values: an interrupted run is continued only with the same.
        resume
            Continue an interrupted run; False clears what it left.
        overwrite
            Replace a finished result.

        Raises
        ------
        OutputError
            A finished result is there (unless ``overwrite``), an interrupted run had other settings, another process
            is at it, the directory is not ours, or it cannot be written.
        DamageError
            A damaged result is there, and nothing to go on with.
        RemoteError
            A store is out of reach or refuses.
        """
        self._check_ours()
        # Before the lock is taken, so that a refused run leaves nothing behind.
        if not overwrite:
            self._refuse_finished()
        with disk_errors(self.directory):
            owned.make_area(self.work)
        with ExitStack() as stack:
            self._lock = stack.enter_context(locked(self.work / "lock"))
            self._check_area()  # under the lock, whose file tells who we are
            if self.remote is not None:
                stack.enter_context(self.remote.held(self._owner()))
                if overwrite:
                    self.remote.begin()
            with disk_errors(self.directory):
                if overwrite or not resume:
                    self._clear()
                # Tuples as lists, as they are read again.
                self._continue(json.loads(json.dumps(settings)))
            yield self

    def finished(self) -> dict[int, Entry]:
        """Ledger entries of blocks whose shard is whole, by block index; reads every shard."""
        run_id = self._run_id()
        entries = (read_entry(path, run_id) for path in sorted((self.work / "done").glob("*.json")))
        return {entry.block: entry for entry in entries if entry is not None and is_whole(self.work, entry)}

    def progress(self) -> tuple[int, int]:
        """Finished blocks and the nuclei in them, by the ledger alone: quick, for looking on while a run goes on."""
        run_id = self._run_id()
        entries = [read_entry(path, run_id) for path in (self.work / "done").glob("*.json")]
        nuclei = {entry.block: entry.nuclei for entry in entries if entry is not None}
        return len(nuclei), sum(nuclei.values())

    def holder(self) -> Holder | None:
        """The run that works here, or has left its lock behind; None when nobody holds the lock."""
        return look(self.work / "lock", probe_in=self.directory.parent)

    def add(self, entry: Entry, nuclei: Nuclei) -> Entry:
        """Store a block's nuclei, then its ledger entry, which is returned with the shard's hash."""
        if len(nuclei):
            entry = replace(entry, shard_sha256=write_nuclei(nuclei, self.shard(entry.block)))
        # After the shard: a block counts as done by its entry alone.
        write_entry(entry, self.work / "done", self._run_id())
        return entry

    def read(self, block: int) -> Nuclei:
        """The nuclei of a finished block, before they are numbered.

        Raises
        ------
        OutputError
            Its shard is not what the ledger says: damaged on disk since. The block then counts as not done.
        """
        line = entry_path(self.work, block)
        entry = read_entry(line, self._run_id())
        try:
            if entry is None or entry.shard_sha256 is None:
                raise DamageError(f"{line} is no entry of a block with nuclei")
            return read_nuclei(self.shard(block), entry.shard_sha256)
        except DamageError as error:
            line.unlink(missing_ok=True)
            raise OutputError(
                f"{self.shard(block)} was damaged on disk after it was written: check the disk and run the "
                "same command again, this block alone is done anew"
            ) from error

    def forget(self, blocks: Iterable[int]) -> None:
        """Let blocks count as not done."""
        for block in blocks:
            entry_path(self.work, block).unlink(missing_ok=True)

    def shard(self, block: int) -> Path:
        """The file of a block's nuclei before they are numbered."""
        return shard_path(self.work, block)

    def part(self, block: int) -> Path:
        """The file of a block's numbered nuclei before the result is published."""
        return self.ready / part_name(block)

    def start_outputs(self) -> None:
        """Make room for the final outputs; what an interrupted run had begun of them is thrown away."""
        self._remove_outputs()
        shutil.rmtree(self.ready, ignore_errors=True)
        owned.make_folder(self.ready)
        (self.ready / "nuclei").mkdir()

    def publish(self, summary: Mapping[str, Any]) -> None:
        """Move the outputs to their final names (or bring them to the store), write the summary and remove the working
        area.

        Everything is on the disk before the first name says so: the outputs before they move, their new names before
        the summary. What was made is kept when this fails, see ``unpublished``.

        Raises
        ------
        OutputError
            An output was changed on disk since it was made, or did not arrive whole in a store.
        RemoteError
            A store is out of reach or refuses.
        """
        if self._lock:
            self._lock.check()
        # Synced before it is hashed: the manifest is to vouch for what the disk has.
        durable.sync_tree(self.ready)
        files = digests(self.ready)
        self._check_parts(files)
        if self.remote is not None:
            self._bring({"made_by": "wsinuc", **summary}, files)
            return
        owned.check_same(self.work, self._area)
        # Renames within one file system: each output appears whole.
        for name in OUTPUTS:
            if os.path.lexists(self.ready / name):
                os.replace(self.ready / name, self.directory / name)
        durable.sync(self.ready)
        durable.sync(self.directory)
        write_json(with_manifest(summary, files), self.summary)
        # Last: what is killed before this is continued, and what is killed here is cleared up by the next run.
        self._sweep()

    def unpublished(self) -> dict[str, Any] | None:
        """The summary of outputs that a run finished but could not bring to its store; None unless
        all are unchanged."""
        if self.remote is None:
            return None
        made = read_sealed(self.work / "ready.json", self._run_id())
        if not made or not self.ready.is_dir():
            return None
        if made["files"] != {name: [file.size, file.sha256] for name, file in digests(self.ready).items()}:
            return None
        return {key: value for key, value in made["summary"].items() if key != "made_by"}

    def _bring(self, summary: dict[str, Any], files: Mapping[str, Digest]) -> None:
        assert self.remote is not None
        listed = {name: [file.size, file.sha256] for name, file in files.items()}
        write_sealed({"summary": summary, "files": listed}, self.work / "ready.json", self._run_id())
        self.remote.publish(self.ready, files, summary, self.work / "uploaded")
        self._sweep()

    def _check_area(self) -> None:
        """Raise OutputError when something lies in the working area that others have put there."""
        assert self._lock is not None
        with disk_errors(self.directory):
            owned.check_area(self.work, self._lock.path)
            self._area = owned.identity(self.work)

    def _owner(self, *, make: bool = True) -> str:
        """Random name of this working area, by which its lock in a store is known; empty when there is none."""
        path = self.work / "owner"
        name = ""
        with disk_errors(self.directory):
            if path.is_file():
                name = path.read_text(encoding="ascii", errors="replace").strip()
            if make and not name:
                name = uuid.uuid4().hex
                with durable.replacing(path, beside(path)) as file:
                    file.write(name.encode("ascii"))
        return name

    def _run_id(self) -> str:
        return settings_hash(read_sealed(self.work / "settings.json"))

    def _check_ours(self) -> None:
        if self.remote is not None:
            self.remote.check_ours()
        if not self.directory.exists():
            return
        check_folder(self.work)
        if not self.directory.is_dir():
            raise OutputError(f"{self.directory} is a file, expected a directory for the result: choose another -o")
        owned.check_outputs(self.directory)
        if not self.is_ours and any(self.directory.iterdir()):
            raise OutputError(
                f"{self.directory} is not empty and holds no wsinuc result: choose another -o, or empty it yourself"
            )

    def _refuse_finished(self) -> None:
        """Raise OutputError for a result that is complete, DamageError for one that is damaged and
        cannot be continued."""
        inspection = inspect(self.out)
        if inspection.is_whole:
            self.clear_up()
            raise OutputError(
                f"{self.out} already holds a complete result: add --overwrite to redo it, or choose another -o"
            )
        self._check_damage(inspection)

    def _check_damage(self, inspection: Inspection) -> None:
        if not inspection.is_damaged:
            return
        if not self.is_unfinished:
            raise DamageError(
                f"{self.out} holds a damaged result ({inspection.reason}): wsinuc verify lists what is wrong; "
                "add --overwrite to make it anew, or choose another -o"
            )
        if inspection.made.kind != ABSENT:
            _log.warning("%s: %s; the blocks of its unfinished run are kept", self.out, inspection.reason)

    def _check_parts(self, files: Mapping[str, Digest]) -> None:
        """Raise OutputError when a part of the table is not the one that was numbered."""
        if self.parts.index.is_file():
            expected = self.parts.hashes()
        else:
            expected = {}
        for name, sha256 in expected.items():
            if name not in files or files[name].sha256 != sha256:
                raise OutputError(
                    f"{self.ready / name} was damaged on disk after it was written: check the disk and run "
                    "the same command again, the blocks are kept"
                )

    def _continue(self, settings: dict[str, Any]) -> None:
        """Take up the settings of an interrupted run, or write them for a new one."""
        path = self.work / "settings.json"
        before = read_sealed(path)
        if before and before != settings:
            raise OutputError(
                f"{self.out} holds an interrupted run with other settings ({', '.join(changes(before, settings))}): "
                "repeat those settings, or add --overwrite, or choose another -o"
            )
        for name in ("blocks", "done"):
            owned.make_folder(self.work / name)
        # Last, so that settings never stand beside folders that are missing.
        if not before:
            write_sealed(settings, path)

    def _clear(self) -> None:
        """Forget what earlier runs left, the lock and the owner's name excepted."""
        self.summary.unlink(missing_ok=True)
        self._remove_outputs()
        owned.empty_area(self.work)

    def _remove_outputs(self) -> None:
        for name in OUTPUTS:
            remove(self.directory / name)

    def _sweep(self) -> None:
        # The lock goes last: deleting takes minutes on some disks, and a run that began meanwhile would lose its files.
        with suppress(OSError):
            owned.empty_area(self.work)
        shutil.rmtree(self.work, ignore_errors=True)
        if self.remote is not None:
            # The working area is ours; the folder around it goes only when it is empty.
            with suppress(OSError):
                self.directory.rmdir()
