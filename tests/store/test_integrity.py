"""Damage on disk while a result is made, and disks that fill: noticed, said in a line, made good by a rerun."""

from __future__ import annotations

import builtins
import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.damaged import flip_bit
from helpers.entries import entry, some_nuclei
from helpers.oracle import write_slide
from helpers.runs import Stop, run, tree
from wsinuc.errors import DataError, OutputError, WsinucError
from wsinuc.nuclei import Nuclei, read_nuclei, write_nuclei
from wsinuc.store import ResultStore
from wsinuc.store.ledger import read_entry, read_sealed, write_entry, write_sealed
from wsinuc.workflows.segment.events import Event, StageStarted

KINDS = {
    "settings": "settings.json",
    "ledger": "done/000001.json",
    "shard": "blocks/000001.parquet",
    "part": "ready/nuclei/part-00001.parquet",
    "labels": "ready/labels.ome.zarr/labels/nuclei/0/c/0/0",
    "label metadata": "ready/labels.ome.zarr/labels/nuclei/0/zarr.json",
    "geojson": "ready/nuclei.geojson",
    "preview": "ready/preview.png",
    "report": "ready/report.html",
}


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "small.tiff", (200, 300), levels=1)


@pytest.fixture(scope="module")
def reference(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    run(slide, out)
    return out


@pytest.fixture(scope="module")
def stopped(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted when every kind of file lay in its working area."""
    out = tmp_path_factory.mktemp("stopped") / "out"

    def stop(self: ResultStore, summary: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResultStore, "publish", stop)
        with pytest.raises(Stop):
            run(slide, out)
    return out


@pytest.mark.parametrize(
    ("kinds", "damage", "again"),
    [
        (["settings"], "flipped", 0),
        (["ledger"], "cut", 1),
        (["shard"], "flipped", 1),
        (["shard"], "cut", 1),
        (["part", "labels", "label metadata", "geojson", "preview", "report"], "flipped", 0),
    ],
    ids=["settings", "ledger", "shard", "cut shard", "outputs"],
)
def test_damage_between_two_runs_changes_nothing(
    slide: Path, reference: Path, stopped: Path, tmp_path: Path, kinds: list[str], damage: str, again: int
) -> None:
    shutil.copytree(stopped, tmp_path / "out")
    for kind in kinds:
        path = tmp_path / "out" / ".run" / KINDS[kind]
        if damage == "flipped":
            flip_bit(path)
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    summary = run(slide, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(reference)
    assert summary.blocks - summary.resumed_blocks == again


def test_a_ledger_of_other_settings_is_not_taken_over(slide: Path, stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "out")
    (tmp_path / "out" / ".run" / "settings.json").unlink()
    assert run(slide, tmp_path / "out", batch_size=2).resumed_blocks == 0


@pytest.mark.parametrize(("stage", "kind"), [("numbering", "shard"), ("labels", "part"), ("report", "part")])
def test_damage_during_a_run_is_noticed(slide: Path, reference: Path, tmp_path: Path, stage: str, kind: str) -> None:
    def damage(event: Event) -> None:
        if isinstance(event, StageStarted) and event.name == stage:
            flip_bit(tmp_path / "out" / ".run" / KINDS[kind], share=0.3)

    with pytest.raises(WsinucError, match=r"000*1\.parquet") as caught:
        run(slide, tmp_path / "out", None, damage)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "summary.json").exists()
    second = run(slide, tmp_path / "out")
    assert second.resumed_blocks == second.blocks - (1 if kind == "shard" else 0)
    assert tree(tmp_path / "out") == tree(reference)


@settings(max_examples=25, deadline=None)
@given(where=st.floats(0, 1), bit=st.integers(0, 7))
def test_no_flipped_bit_passes_in_the_ledger(tmp_path_factory, where: float, bit: int) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    line = entry(3, 17, shard_sha256="ab" * 32)
    write_entry(line, folder, "run")
    flip_bit(folder / "000003.json", share=where, bit=bit)
    assert read_entry(folder / "000003.json", "run") in (None, line)
    write_sealed({"block": 512, "shape": [10, 20]}, folder / "settings.json")
    flip_bit(folder / "settings.json", share=where, bit=bit)
    assert read_sealed(folder / "settings.json") in ({}, {"block": 512, "shape": [10, 20]})


def test_an_entry_of_another_run_counts_for_nothing(tmp_path: Path) -> None:
    write_entry(entry(0, 3), tmp_path, "one")
    assert read_entry(tmp_path / "000000.json", "one") == entry(0, 3)
    assert read_entry(tmp_path / "000000.json", "two") is None


@settings(max_examples=30, deadline=None)
@given(where=st.floats(0, 1), bit=st.integers(0, 7))
def test_no_flipped_bit_passes_in_a_table(tmp_path_factory, where: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("table") / "a.parquet"
    write_nuclei(some_nuclei(), path)
    flip_bit(path, share=where, bit=bit)
    try:
        found = read_nuclei(path)
    except DataError:
        return
    assert_equal(found, some_nuclei())


def test_names_of_columns_that_are_no_text_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_nuclei(some_nuclei(), path)
    content = path.read_bytes()
    places = [match.start() for match in re.finditer(b"area_px", content)]
    refused = 0
    for place in places:
        path.write_bytes(content[:place] + b"\xef" + content[place + 1 :])
        try:
            found = read_nuclei(path)
        except DataError:
            refused += 1
        else:  # a name that nobody reads
            assert_equal(found, some_nuclei())
    assert refused


def assert_equal(found: Nuclei, expected: Nuclei) -> None:
    for field in dataclasses.fields(Nuclei):
        value, wanted = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_equal(value, wanted, err_msg=field.name)


PLACES = ("settings.json", "blocks", "done", "part-", "labels.ome.zarr", "geojson", "preview", "summary.json")


def test_a_disk_that_fills_at_every_writing_place_in_turn(
    slide: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for kind in PLACES:
        with monkeypatch.context() as patch:
            fill_up(patch, out, kind)
            with pytest.raises(OutputError, match=r"no space left.*it goes on where it stopped") as caught:
                run(slide, out)
        assert "\n" not in str(caught.value)
        assert not (out / "summary.json").exists()
        assert not (out / ".run" / "lock").exists()
    assert run(slide, out).resumed_blocks == len(list((reference / "nuclei").iterdir()))
    assert tree(out) == tree(reference)
    assert json.loads((out / "summary.json").read_text())["made_by"] == "wsinuc"


def fill_up(patch: pytest.MonkeyPatch, out: Path, kind: str) -> None:
    """Let every file below ``out`` whose path has ``kind`` in it fail as on a full disk once it is
    opened for writing."""
    import io

    opened = builtins.open

    def refuse(file: object, mode: str = "r", *args: object, **options: object):
        path = os.fspath(file) if isinstance(file, str | os.PathLike) else ""
        if str(path).startswith(str(out)) and kind in str(path) and set(mode) & set("wax"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(file, mode, *args, **options)

    patch.setattr(builtins, "open", refuse)
    patch.setattr(io, "open", refuse)


def test_the_label_images_carry_checksums(reference: Path, tmp_path: Path) -> None:
    import zarr

    shutil.copytree(reference / "labels.ome.zarr", tmp_path / "labels.ome.zarr")
    chunk = tmp_path / "labels.ome.zarr" / "labels" / "nuclei" / "0" / "c" / "0" / "0"
    wanted = zarr.open_array(chunk.parents[2], mode="r")[:]
    for where in np.linspace(0, 1, 6):
        flip_bit(chunk, share=where)
        try:
            found = zarr.open_array(chunk.parents[2], mode="r")[:]
        except Exception:  # zarr, numcodecs and crc32c each raise their own
            found = wanted
        np.testing.assert_array_equal(found, wanted)
        flip_bit(chunk, share=where)
