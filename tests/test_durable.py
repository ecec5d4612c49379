"""In which order things reach the disk, and file systems that cannot do all of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers.oracle import write_slide
from helpers.runs import run
from wsinuc import durable
from wsinuc.exports.atomic import replacing
from wsinuc.store.files import write_json

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are asked from /proc")


@dataclass
class Disk:
    """What the disk was told, in order: ("sync", path) and ("rename", from, to)."""

    calls: list[tuple[str, ...]] = field(default_factory=list)

    def index(self, *call: str, after: int = -1) -> int:
        return next(i for i, made in enumerate(self.calls) if i > after and made == call)

    def renames(self) -> Iterator[tuple[int, Path, Path]]:
        for index, call in enumerate(self.calls):
            if call[0] == "rename":
                yield index, Path(call[1]), Path(call[2])

    def synced(self, path: Path, *, before: int) -> bool:
        return ("sync", str(path)) in self.calls[:before]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    told = Disk()
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        told.calls.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def note_rename(source: str | Path, target: str | Path, **how: object) -> None:
        told.calls.append(("rename", os.fspath(source), os.fspath(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    return told


@needs_proc
def test_a_whole_run_names_nothing_before_it_is_on_the_disk(disk: Disk, tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "a.tiff", (200, 260), levels=1)
    disk.calls.clear()
    out = tmp_path / "a.wsinuc"
    run(slide, out, block=128, workers=2)
    ours = [(index, source, target) for index, source, target in disk.renames() if target.is_relative_to(out)]
    kinds = {target.relative_to(out).parts[:2] for _, _, target in ours}
    assert {(".run", "settings.json"), (".run", "blocks"), (".run", "done"), ("summary.json",), ("nuclei",)} <= kinds
    assert ("labels.ome.zarr",) in kinds
    for index, source, target in ours:
        if target.name == "labels.ome.zarr" or target.name == "nuclei":
            assert_tree_synced(disk, source, target, before=index)
        elif "zarr" not in target.as_posix():  # zarr renames its own files; they are synced in one pass, above
            assert disk.synced(source, before=index), f"{target} was named too early"
            assert ("sync", str(target.parent)) in disk.calls[index:], f"the name {target} may be lost"
    assert_ledger_after_shards(disk, out)
    published = next(index for index, _, target in ours if target == out / "summary.json")
    moved = [index for index, source, target in ours if target.parent == out and target.name != "summary.json"]
    assert max(moved) < disk.index("sync", str(out), after=max(moved)) < published


def assert_tree_synced(disk: Disk, ready: Path, target: Path, *, before: int) -> None:
    """Every file and folder that now lies below ``target`` was synced where it was made."""
    for path in [target, *target.rglob("*")]:
        made = ready / path.relative_to(target)
        assert disk.synced(made, before=before), f"{made} was published before it was on the disk"


def assert_ledger_after_shards(disk: Disk, out: Path) -> None:
    blocks = out / ".run" / "blocks"
    entries = [(index, target) for index, _, target in disk.renames() if target.parent.name == "done"]
    assert len(entries) == 6
    checked = 0
    for index, entry in entries:
        shard = blocks / f"{entry.stem}.parquet"
        named = next((i for i, _, target in disk.renames() if target == shard), None)
        if named is None:  # the slide's last 4 columns hold no centroid, so their blocks have no shard
            continue
        checked += 1
        assert named < disk.index("sync", str(blocks), after=named) < index, f"{entry} is on the disk before its shard"
    assert checked >= 4


@needs_proc
def test_new_folders_are_synced_into_their_parents(disk: Disk, tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b")
    assert disk.calls == [("sync", str(tmp_path)), ("sync", str(tmp_path / "a"))]
    durable.make_folder(tmp_path / "a" / "b")
    assert len(disk.calls) == 2


@needs_proc
@pytest.mark.parametrize("write", [lambda path: write_json({}, path), lambda path: write_all(path)])
def test_single_files(disk: Disk, tmp_path: Path, write) -> None:
    write(tmp_path / "a")
    partial = disk.calls[0][1]
    assert Path(partial).parent == tmp_path
    assert partial.endswith(".partial")
    assert disk.calls == [("sync", partial), ("rename", partial, str(tmp_path / "a")), ("sync", str(tmp_path))]


def write_all(path: Path) -> None:
    with replacing(path) as stream:
        stream.write(b"content")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_that_cannot_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    write_json({"a": 1}, tmp_path / "a.json")
    durable.sync_tree(tmp_path)
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_refuses_is_an_error_and_nothing_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        write_json({"a": 1}, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_opened_count_as_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, flags: int, *rest: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    durable.sync(tmp_path)
