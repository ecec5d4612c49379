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
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from wsinuc.errors import OutputError
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei, read_nuclei, write_nuclei
from wsinuc.store.files import disk_errors, read_json, remove, write_json
from wsinuc.store.lock import locked

OUTPUTS = ("nuclei", "labels.ome.zarr", "nuclei.geojson", "nuclei.geojson.gz", "nuclei.geojson.zip", "preview.png")
SUMMARY = "summary.json"
WORK = frozenset(
    {"lock", "settings.json", "settings.json.partial", "calibration", "calibration.partial", "blocks", "done", "ready"}
)
"""All that we ever put into the working area; other programs call folders ``.run``, too."""
MAX_ID = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger: one finished block."""

    block: int
    nuclei: int
    shard_sha256: str | None
    """None where the block owns no nuclei and thus has no shard."""
    unreadable: tuple[Box, ...]
    """View pixels."""
    tiles: int
    at_edge: int
    seconds: dict[str, float]


class ResultStore:
    """The directory of one result; create with ``open_run`` to write, or directly to look."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.work = self.directory / ".run"
        self.ready = self.work / "ready"
        self.summary = self.directory / SUMMARY

    @property
    def is_complete(self) -> bool:
        """Whether the result is finished."""
        return self.summary.is_file()

    @property
    def is_ours(self) -> bool:
        """Whether wsinuc has made this directory's content."""
        if self.work.is_dir():
            return all(path.name in WORK for path in self.work.iterdir())
        return read_json(self.summary).get("made_by") == "wsinuc"

    @contextmanager
    def open_run(self, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Iterator[Self]:
        """Hold the directory for one run with ``settings`` (its identity; JSON values), new or continued.

        Raises OutputError when a finished result is there (unless ``overwrite``), when an interrupted run had other
        settings, when another process is at it, when the directory is not ours, or when it cannot be written.
        """
        self._check_ours()
        if self.is_complete and not overwrite:
            self._sweep()
            raise OutputError(
                f"{self.directory} already holds a complete result: add --overwrite to redo it, or choose another -o"
            )
        with disk_errors(self.directory):
            self.work.mkdir(parents=True, exist_ok=True)
        with locked(self.work / "lock"):
            with disk_errors(self.directory):
                if overwrite or not resume:
                    self._clear()
                self._continue(json.loads(json.dumps(settings)))
            yield self

    def finished(self) -> dict[int, Entry]:
        """Ledger entries of blocks whose shard is whole, by block index."""
        entries = (_entry(read_json(path)) for path in sorted((self.work / "done").glob("*.json")))
        return {entry.block: entry for entry in entries if entry is not None and self._shard_is_whole(entry)}

    def add(self, entry: Entry, nuclei: Nuclei) -> Entry:
        """Store a block's nuclei, then its ledger entry, which is returned with the shard's hash."""
        if len(nuclei):
            shard = self.shard(entry.block)
            write_nuclei(nuclei, shard)
            entry = replace(entry, shard_sha256=_sha256(shard))
        write_json(asdict(entry), self.work / "done" / f"{entry.block:06d}.json")
        return entry

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
        """Move the outputs to their final names, write the summary, remove the working area."""
        for path in sorted(self.ready.iterdir()):
            os.replace(path, self.directory / path.name)
        write_json({"made_by": "wsinuc", **summary}, self.summary)
        self._sweep()

    def _check_ours(self) -> None:
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
        before = read_json(path)
        if before and before != settings:
            keys = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
            changes = ", ".join(f"{key} was {before.get(key)!r}, now {settings.get(key)!r}" for key in keys)
            raise OutputError(
                f"{self.directory} holds an interrupted run with other settings ({changes}): "
                "repeat those settings, or add --overwrite, or choose another -o"
            )
        for name in ("blocks", "done"):
            (self.work / name).mkdir(exist_ok=True)
        if not before:
            write_json(settings, path)

    def _shard_is_whole(self, entry: Entry) -> bool:
        shard = self.shard(entry.block)
        return entry.nuclei == 0 or (shard.is_file() and _sha256(shard) == entry.shard_sha256)

    def _clear(self) -> None:
        """Forget what earlier runs left, the lock excepted."""
        self.summary.unlink(missing_ok=True)
        self._remove_outputs()
        for path in self.work.iterdir():
            if path.name != "lock":
                remove(path)

    def _remove_outputs(self) -> None:
        for name in OUTPUTS:
            remove(self.directory / name)

    def _sweep(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Short, stable name of a run's settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Parts:
    """The table of a result, part by part, as often as one likes; see ``iter_nuclei``."""

    directory: Path

    def __iter__(self) -> Iterator[Nuclei]:
        return iter_nuclei(self.directory)


def iter_nuclei(directory: Path) -> Iterator[Nuclei]:
    """Parts of the table in id order; ``directory`` is a result (or anything that holds ``nuclei/``).

    Raises OutputError when there is no table.
    """
    parts = list((Path(directory) / "nuclei").glob("part-*.parquet"))
    if not parts:
        raise OutputError(f"{directory} holds no nuclei/part-*.parquet: not a complete wsinuc result")
    for path in sorted(parts, key=lambda path: int(path.stem.removeprefix("part-"))):
        yield read_nuclei(path)


def _entry(content: Mapping[str, Any]) -> Entry | None:
    if not content:
        return None
    boxes = tuple(Box(**box) for box in content["unreadable"])
    return Entry(**{**content, "unreadable": boxes})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
