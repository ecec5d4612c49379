"""What a result looks like on disk, and what of it is already done.

``<stem>.wsinuc/`` holds, once complete::

    nuclei/part-00000.parquet ...   the table, ids 1..N, one part per block that owns nuclei
    labels.ome.zarr                 instance ids and classes as images
    nuclei.geojson                  (or .zip) for QuPath
    preview.png
    summary.json                    written last: where it is, the result is complete

and, only while it is being made, ``.run/``::

    lock            who is at it
    settings.json   what the run was asked for; a run with other settings never mixes with it
    calibration     what the segmenter was fitted to the slide with
    blocks/         one Parquet shard per finished block that owns nuclei
    done/           one ledger entry per finished block, written after its shard, naming the shard's hash
    ready/          outputs being written; they move out by a rename when all of them are whole

A block counts as done by its ledger entry alone, so a run can be killed at any moment: what was half-written lies in
``.run`` and is done again.

A result may also lie below a URL. Then the directory is a working area (``remote.working_area``), and publishing
brings the outputs to the store; two more things lie in ``.run/``: ``ready.json``, the hash of each finished output, so
that an upload goes on without making them again, and ``uploaded``, what has arrived.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from wsinuc.errors import OutputError
from wsinuc.nuclei import Nuclei, read_nuclei, write_nuclei
from wsinuc.store.files import disk_errors, read_json, remove, write_json
from wsinuc.store.ledger import Entry, changes, read_entry, read_sealed, settings_hash, write_entry, write_sealed
from wsinuc.store.lock import Holder, Lock, locked, look
from wsinuc.store.outputs import OUTPUTS, SUMMARY
from wsinuc.store.remote import RemoteResult, working_area
from wsinuc.store.upload import digest, digests, list_sizes
from wsinuc.urls import Place, Url, place

WORK = frozenset(
    {
        "lock",
        "owner",
        "settings.json",
        "settings.json.partial",
        "calibration",
        "calibration.partial",
        "blocks",
        "done",
        "ready",
    }
    | {"ready.json", "ready.json.partial", "uploaded"}
)
"""All that we ever put into the working area; other programs call folders ``.run``, too."""
MAX_ID = 2**32 - 1


class ResultStore:
    """The directory of one result; create with ``open_run`` to write, or directly to look.

    Parameters
    ----------
    out
        The result's own directory, or its URL.
    work
        For a URL: the folder that holds working areas. Every worker must see it; the user's cache by default.
    """

    def __init__(self, out: str | Place, work: Path | None = None) -> None:
        self.out = place(out)
        self.remote = RemoteResult(self.out) if isinstance(self.out, Url) else None
        self.directory = working_area(self.out, work) if isinstance(self.out, Url) else self.out
        self.work = self.directory / ".run"
        self.ready = self.work / "ready"
        self.summary = self.directory / SUMMARY
        self._lock: Lock | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the result is finished. Raises RemoteError when its store is out of reach."""
        return self.summary.is_file() if self.remote is None else self.remote.is_complete

    @property
    def is_ours(self) -> bool:
        """Whether wsinuc has made this directory's content."""
        if self.work.is_dir():
            return all(path.name in WORK or path.name.startswith("lock.") for path in self.work.iterdir())
        return read_json(self.summary).get("made_by") == "wsinuc"

    def made(self) -> dict[str, Any]:
        """The summary of a complete result that wsinuc has made, from where the result lies; else empty.

        Raises RemoteError when its store is out of reach.
        """
        summary = read_json(self.summary) if self.remote is None else self.remote.summary()
        return summary if summary.get("made_by") == "wsinuc" else {}

    def clear_up(self) -> None:
        """Remove what is left of a run that was killed after it had completed the result. Raises RemoteError."""
        if self.remote is not None:
            self.remote.mend(self._owner(make=False))
        self._sweep()

    @contextmanager
    def open_run(self, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Iterator[Self]:
        """Hold the directory for one run with ``settings`` (its identity; JSON values), new or continued.

        Raises OutputError when a finished result is there (unless ``overwrite``), when an interrupted run had other
        settings, when another process is at it, when the directory is not ours, or when it cannot be written;
        RemoteError when a store is out of reach or refuses.
        """
        self._check_ours()
        if self.is_complete and not overwrite:
            self.clear_up()
            raise OutputError(
                f"{self.out} already holds a complete result: add --overwrite to redo it, or choose another -o"
            )
        with disk_errors(self.directory):
            self.work.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            self._lock = held.enter_context(locked(self.work / "lock"))
            if self.remote is not None:
                held.enter_context(self.remote.held(self._owner()))
                if overwrite:
                    self.remote.begin()
            with disk_errors(self.directory):
                if overwrite or not resume:
                    self._clear()
                self._continue(json.loads(json.dumps(settings)))
            yield self

    def finished(self) -> dict[int, Entry]:
        """Ledger entries of blocks whose shard is whole, by block index."""
        run_id = self._run_id()
        entries = (read_entry(path, run_id) for path in sorted((self.work / "done").glob("*.json")))
        return {entry.block: entry for entry in entries if entry is not None and self._shard_is_whole(entry)}

    def progress(self) -> tuple[int, int]:
        """Finished blocks and the nuclei in them, by the ledger alone: quick, for looking on while a run goes on."""
        entries = [read_json(path) for path in (self.work / "done").glob("*.json")]
        return len(entries), sum(entry.get("nuclei", 0) for entry in entries)

    def holder(self) -> Holder | None:
        """The run that works here, or has left its lock behind; None when there is neither."""
        return look(self.work / "lock", probe_in=self.directory.parent)

    def add(self, entry: Entry, nuclei: Nuclei) -> Entry:
        """Store a block's nuclei, then its ledger entry, which is returned with the shard's hash."""
        if len(nuclei):
            shard = self.shard(entry.block)
            write_nuclei(nuclei, shard)
            entry = replace(entry, shard_sha256=digest(shard).sha256)
        write_entry(entry, self.work / "done", self._run_id())
        return entry

    def read(self, block: int) -> Nuclei:
        """The nuclei of a finished block, before they are numbered.

        Raises
        ------
        OutputError
            Its shard is not what the ledger says: damaged on disk since. The block then counts as not done.
        """
        line = self.work / "done" / f"{block:06d}.json"
        entry = read_entry(line, self._run_id())
        if entry is None or not self._shard_is_whole(entry):
            line.unlink(missing_ok=True)
            raise OutputError(
                f"{self.shard(block)} was damaged on disk after it was written: check the disk and run the "
                "same command "
                "again, this block alone is done anew"
            )
        return read_nuclei(self.shard(block))

    def shard(self, block: int) -> Path:
        """Where the nuclei of a block lie before they are numbered."""
        return self.work / "blocks" / f"{block:06d}.parquet"

    def part(self, block: int) -> Path:
        """Where the numbered nuclei of a block lie before the result is published."""
        return self.ready / "nuclei" / f"part-{block:05d}.parquet"

    def start_outputs(self) -> None:
        """Make room for the final outputs; what an interrupted run had begun of them is thrown away."""
        self._remove_outputs()
        shutil.rmtree(self.ready, ignore_errors=True)
        (self.ready / "nuclei").mkdir(parents=True)

    def publish(self, summary: Mapping[str, Any]) -> None:
        """Move the outputs to their final names (or bring them to the store), write the summary,
        remove the working area.

        Raises RemoteError or OutputError when a store does not take them; what was made is kept, see ``unpublished``.
        """
        if self._lock:
            self._lock.check()
        content = {"made_by": "wsinuc", **summary}
        if self.remote is not None:
            self._bring(content)
            return
        for path in sorted(self.ready.iterdir()):
            os.replace(path, self.directory / path.name)
        write_json(content, self.summary)
        self._sweep()

    def unpublished(self) -> dict[str, Any] | None:
        """The summary of outputs that a run finished but could not bring to its store; None unless
        all are unchanged."""
        made = read_sealed(self.work / "ready.json", self._run_id()) if self.remote is not None else {}
        if not made or not self.ready.is_dir():
            return None
        if made["files"] != {name: [file.size, file.sha256] for name, file in digests(self.ready).items()}:
            return None
        return {key: value for key, value in made["summary"].items() if key != "made_by"}

    def _bring(self, summary: dict[str, Any]) -> None:
        assert self.remote is not None
        files = digests(self.ready)
        listed = {name: [file.size, file.sha256] for name, file in files.items()}
        write_sealed({"summary": summary, "files": listed}, self.work / "ready.json", self._run_id())
        self.remote.publish(self.ready, files, summary, self.work / "uploaded")
        self._sweep()

    def _owner(self, *, make: bool = True) -> str:
        """Random name of this working area, by which its lock in a store is known; empty when there is none."""
        path = self.work / "owner"
        with disk_errors(self.directory):
            name = path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""
            if make and not name:
                name = uuid.uuid4().hex
                path.write_text(name, encoding="ascii")
        return name

    def _run_id(self) -> str:
        return settings_hash(read_sealed(self.work / "settings.json"))

    def _check_ours(self) -> None:
        if self.remote is not None:
            self.remote.check_ours()
        if not self.directory.exists():
            return
        if not self.directory.is_dir():
            raise OutputError(f"{self.directory} is a file, expected a directory for the result: choose another -o")
        if not self.is_ours and any(self.directory.iterdir()):
            raise OutputError(
                f"{self.directory} is not empty and holds no wsinuc result: choose another -o, or empty it yourself"
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
            (self.work / name).mkdir(exist_ok=True)
        if not before:
            write_sealed(settings, path)

    def _shard_is_whole(self, entry: Entry) -> bool:
        shard = self.shard(entry.block)
        return entry.nuclei == 0 or (shard.is_file() and digest(shard).sha256 == entry.shard_sha256)

    def _clear(self) -> None:
        """Forget what earlier runs left, the lock and the owner's name excepted."""
        self.summary.unlink(missing_ok=True)
        self._remove_outputs()
        for path in self.work.iterdir():
            if path.name != "owner" and not path.name.startswith("lock"):
                remove(path)

    def _remove_outputs(self) -> None:
        for name in OUTPUTS:
            remove(self.directory / name)

    def _sweep(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        if self.remote is not None:
            with suppress(OSError):  # the working area is ours alone, but nothing else in it is
                self.directory.rmdir()


@dataclass(frozen=True, slots=True)
class Parts:
    """The table of a result, part by part, as often as one likes; see ``iter_nuclei``."""

    directory: Place

    def __iter__(self) -> Iterator[Nuclei]:
        return iter_nuclei(self.directory)


def iter_nuclei(directory: str | Place) -> Iterator[Nuclei]:
    """Parts of the table in id order; ``directory`` is a result or its URL (or anything that holds ``nuclei/``).

    Raises OutputError when there is no table, RemoteError when it is out of reach.
    """
    folder = place(directory) / "nuclei"
    parts = [name for name in _names(folder) if name.startswith("part-") and name.endswith(".parquet")]
    if not parts:
        raise OutputError(f"{place(directory)} holds no nuclei/part-*.parquet: not a complete wsinuc result")
    for name in sorted(parts, key=lambda name: int(name.removeprefix("part-").removesuffix(".parquet"))):
        yield read_nuclei(folder / name)


def _names(folder: Place) -> list[str]:
    """Names of the files in a folder, none when there is no such folder."""
    return list(list_sizes(folder)) if isinstance(folder, Url) else [path.name for path in folder.glob("*")]
