"""Which slide is this: what is noticed, what is no difference, and that odd files never fail."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pydicom.filereader
import pytest
import tifffile
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.files.slide_variants import dicom, mrxs, pyramid
from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import Stop, config, run, tree
from wsinuc.errors import OutputError, SlideError
from wsinuc.slides.identity import fingerprint as module
from wsinuc.slides.identity.directory_bytes import tiff_directories
from wsinuc.slides.identity.fingerprint import SAMPLE, STRIDE, WHOLE, fingerprint, hole_share, sha256_of, stamp
from wsinuc.slides.identity.slide_files import slide_files
from wsinuc.urls import Url
from wsinuc.workflows.cohort.done_before import differences
from wsinuc.workflows.segment.events import BlockDone, Event, StageStarted

MIB = 2**20
SIZE = 22 * MIB + 12_345


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "slide.bin"
    path.write_bytes(np.random.default_rng(3).bytes(SIZE))
    return path


@pytest.fixture
def copy(large: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(large, tmp_path / "copy.bin"))


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def test_a_copy_is_the_same_slide_whatever_its_name_and_times(large: Path, copy: Path) -> None:
    os.utime(copy, (1, 1))
    assert fingerprint(copy) == fingerprint(large)
    assert sha256_of(copy) == sha256_of(large)
    assert stamp(copy) != stamp(large)
    assert stamp(large) == stamp(large)


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, SIZE - STRIDE - SAMPLE))
def test_no_stretch_as_long_as_a_step_goes_unnoticed(large: Path, tmp_path_factory, start: int) -> None:
    copy = Path(shutil.copyfile(large, tmp_path_factory.mktemp("copy") / "copy.bin"))
    overwrite(copy, start, bytes(STRIDE + SAMPLE))
    assert fingerprint(copy) != fingerprint(large)


@pytest.mark.parametrize("missing", [1, SAMPLE, MIB, SIZE // 3])
def test_a_preallocated_copy_is_another_slide_until_its_last_byte_is_there(
    large: Path, tmp_path: Path, missing: int
) -> None:
    """As rsync --inplace and cp leave it."""
    copy = tmp_path / "copy.bin"
    content = large.read_bytes()
    with copy.open("wb") as file:
        file.truncate(SIZE)
        file.write(content[: SIZE - missing])
    seen = stamp(copy)
    assert fingerprint(copy) != fingerprint(large)
    overwrite(copy, SIZE - missing, content[SIZE - missing :])
    assert stamp(copy) != seen
    assert fingerprint(copy) == fingerprint(large)


def test_pieces_missing_here_and_there_are_noticed(large: Path, copy: Path) -> None:
    """As a torrent leaves it: half of the pieces of 256 KiB have not come yet."""
    rng = np.random.default_rng(5)
    for piece in rng.permutation(SIZE // (MIB // 4))[: SIZE // (MIB // 2)]:
        overwrite(copy, int(piece) * MIB // 4, bytes(MIB // 4))
    assert fingerprint(copy) != fingerprint(large)


@settings(max_examples=20, deadline=None)
@given(where=st.integers(0, 99_999), bit=st.integers(0, 7))
def test_every_byte_of_a_small_file_counts(tmp_path_factory, where: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("small") / "a.tiff"
    path.write_bytes(np.random.default_rng(1).bytes(100_000))
    before = fingerprint(path)
    byte = path.read_bytes()[where]
    overwrite(path, where, bytes([byte ^ 1 << bit]))
    assert fingerprint(path) != before


def test_holes_are_counted(large: Path, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.bin"
    with sparse.open("wb") as file:
        file.write(large.read_bytes()[: 4 * MIB])
        file.truncate(16 * MIB)
        file.flush()
        os.fsync(file.fileno())
    if sparse.stat().st_blocks * 512 > 8 * MIB:
        pytest.skip("the file system makes no holes")
    assert hole_share(sparse) == pytest.approx(0.75, abs=0.01)
    assert hole_share(large) == 0.0
    assert hole_share(Url("memory://a.tiff")) == 0.0


@pytest.fixture
def remote(large: Path):
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bucket/slide.bin", large.read_bytes())
    yield Url("memory://bucket/slide.bin")
    fs.rm("/bucket", recursive=True)


def test_a_url_is_sampled_with_few_requests(remote: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, path = remote.filesystem()
    asked: list[tuple[int, int]] = []
    cat = type(fs).cat_file

    def count(self: object, path: str, start: int = 0, end: int | None = None, **how: object) -> bytes:
        asked.append((start, end or SIZE))
        return cat(self, path, start=start, end=end, **how)

    monkeypatch.setattr(type(fs), "cat_file", count)
    before = fingerprint(remote)
    assert len(asked) == module.REMOTE_SAMPLES
    assert sum(stop - start for start, stop in asked) == module.REMOTE_SAMPLES * SAMPLE
    assert min(asked)[0] == 0
    assert max(asked)[1] == SIZE
    content = fs.cat_file(path)
    fs.pipe_file(path, content[: SIZE // 2] + bytes(SIZE // 10) + content[SIZE // 2 + SIZE // 10 :])
    assert fingerprint(remote) != before
    assert stamp(remote) == ""


def test_a_small_file_is_the_same_at_a_url(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(np.random.default_rng(1).bytes(WHOLE))
    fsspec.filesystem("memory").pipe_file("/small/a.tiff", path.read_bytes())
    url = Url("memory://small/a.tiff")
    assert fingerprint(url) == fingerprint(path)
    assert sha256_of(url) == sha256_of(path)


@pytest.mark.parametrize("sub_ifds", [False, True])
@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<"), (True, ">")])
def test_the_tables_of_every_level_count(tmp_path: Path, big: bool, order: str, sub_ifds: bool) -> None:
    path = pyramid(tmp_path / "a.tiff", big=big, order=order, sub_ifds=sub_ifds)
    before = fingerprint(path)
    with tifffile.TiffFile(path) as tiff:
        pages = [tiff.pages[0], *tiff.pages[0].pages] if sub_ifds else list(tiff.pages)
        tags = [page.tags[name] for page in pages for name in ("TileOffsets", "TileByteCounts")]
        places = [(tag.valueoffset, tag.count) for tag in tags]
    assert len(places) == 6
    for place, count in places:
        assert count > 1
        data = path.read_bytes()[place : place + 1]
        overwrite(path, place, bytes([data[0] ^ 1]))
        assert fingerprint(path) != before
        overwrite(path, place, data)
    assert fingerprint(path) == before


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), big=st.booleans(), order=st.sampled_from(["II", "MM"]))
def test_odd_directories_end_and_never_fail(data: bytes, big: bool, order: str) -> None:
    mark = "<" if order == "II" else ">"
    head = struct.pack(f"{mark}2sHHHQ", order.encode(), 43, 8, 0, 16) if big else b""
    head = head or struct.pack(f"{mark}2sHI", order.encode(), 42, 8)
    assert sum(map(len, tiff_directories(io.BytesIO(head + data)))) <= module.STRIDE


def test_directories_that_point_at_each_other_end() -> None:
    loop = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 0) + struct.pack("<I", 8) + bytes(20)
    assert list(tiff_directories(io.BytesIO(loop))) == [b""]
    assert list(tiff_directories(io.BytesIO(b"no TIFF at all, but text"))) == []


def test_the_folder_of_an_mrxs_is_part_of_it(tmp_path: Path) -> None:
    path = mrxs(tmp_path, "a")
    before, seen, whole = fingerprint(path), stamp(path), sha256_of(path)
    (tmp_path / "a" / ".DS_Store").write_text("a visitor")
    assert fingerprint(path) == before
    overwrite(tmp_path / "a" / "Data0001.dat", 2500, b"new")
    assert fingerprint(path) != before
    assert stamp(path) != seen
    assert sha256_of(path) != whole
    assert fingerprint(mrxs(tmp_path / "elsewhere", "b")) == before
    (tmp_path / "elsewhere" / "b" / "Data0002.dat").unlink()
    assert fingerprint(tmp_path / "elsewhere" / "b.mrxs") != before


def test_the_files_of_a_dicom_series_are_one_slide(tmp_path: Path) -> None:
    names = [dicom(tmp_path / f"{index}.dcm", "1.2.3", bytes([index]) * 100) for index in range(3)]
    other = dicom(tmp_path / "other.dcm", "1.2.4", b"")
    assert slide_files(names[1]) == [names[1], names[0], names[2]]
    assert slide_files(other) == [other]
    before = fingerprint(names[0])
    other.unlink()
    assert fingerprint(names[0]) == before
    dicom(names[2], "1.2.3", b"\7" * 100)
    assert fingerprint(names[0]) != before


def test_each_header_of_a_folder_of_dicom_slides_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [dicom(tmp_path / f"{index}.dcm", f"1.2.{index // 2}", b"") for index in range(8)]
    read: list[str] = []
    read_partial = pydicom.filereader.read_partial

    def counted(file: BinaryIO, **options: Any) -> Any:
        read.append(file.name)
        return read_partial(file, **options)

    monkeypatch.setattr(pydicom.filereader, "read_partial", counted)
    assert [slide_files(name)[1] for name in names] == [names[index ^ 1] for index in range(8)]
    assert sorted(read) == sorted(map(str, names))
    # A file that has changed is looked at anew, and no other one.
    dicom(names[1], "1.2.3", b"more pixels")
    assert slide_files(names[1]) == [names[1], names[6], names[7]]
    assert read[len(names) :] == [str(names[1])]


def test_the_files_that_an_index_names_are_part_of_the_slide(tmp_path: Path) -> None:
    index = tmp_path / "a.vms"
    index.write_text(
        "[Virtual Microscope Specimen]\nImageFile=a.jpg\nMapFile=../map.jpg\nNoFile=none.jpg\nSelf=a.vms\n"
    )
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    assert slide_files(index) == [index, tmp_path / "a.jpg"]


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """A slide that is too large to be read as a whole, most of it bytes that belong to no tile."""
    path = write_slide(tmp_path / "padded.tiff", (200, 200), levels=1)
    with path.open("ab") as file:
        file.write(np.random.default_rng(4).bytes(6 * MIB))
    return path


UNSEEN = 3 * MIB
"""A place in it that no sample meets."""


def interrupt(slide: Path, out: Path, **changes: object) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 2:
            raise Stop

    with pytest.raises(Stop):
        run(slide, out, on_event=stop, block=128, workers=1, **changes)


def test_a_copy_that_is_completed_between_two_runs_is_another_slide(padded: Path, tmp_path: Path) -> None:
    whole = padded.read_bytes()
    overwrite(padded, len(whole) - 5 * MIB, bytes(5 * MIB))
    interrupt(padded, tmp_path / "out")
    padded.write_bytes(whole)
    with pytest.raises(OutputError, match=r"other settings \(the slide's file differs\)"):
        run(padded, tmp_path / "out", block=128)


def test_verify_input_notices_a_byte_that_no_sample_meets(padded: Path, tmp_path: Path) -> None:
    before = fingerprint(padded)
    interrupt(padded, tmp_path / "out", verify_input=True)
    byte = padded.read_bytes()[UNSEEN]
    overwrite(padded, UNSEEN, bytes([byte ^ 1]))
    assert fingerprint(padded) == before
    with pytest.raises(SlideError, match="not the file that the interrupted run began with"):
        run(padded, tmp_path / "out", block=128, verify_input=True)
    overwrite(padded, UNSEEN, bytes([byte]))
    stages: list[str] = []
    summary = run(
        padded,
        tmp_path / "out",
        block=128,
        verify_input=True,
        on_event=lambda event: stages.append(event.name) if isinstance(event, StageStarted) else None,
    )
    assert stages[0] == "input"
    assert summary.resumed_blocks >= 2
    assert summary.slide_sha256 == sha256_of(padded)
    plain = run(padded, tmp_path / "plain", block=128)
    assert plain.slide_sha256 is None
    assert tree(tmp_path / "plain") == tree(tmp_path / "out")


def test_done_before_asks_the_content_where_times_differ(padded: Path, tmp_path: Path, monkeypatch) -> None:
    run(padded, tmp_path / "out", block=128)
    made = json.loads((tmp_path / "out" / "summary.json").read_text())
    asked: list[Path] = []
    monkeypatch.setattr(
        "wsinuc.workflows.cohort.done_before.fingerprint", lambda path: asked.append(path) or fingerprint(path)
    )

    def found(**changes: object) -> tuple[str, ...]:
        wanted = dataclasses.replace(config(block=128), **changes)
        return differences(made, padded, tmp_path / "out", wanted, OracleSegmenter())

    assert found() == ()
    assert not asked
    os.utime(padded, (5, 5))
    assert found() == ()
    assert asked == [padded]
    assert found(verify_input=True) == ("it was made without --verify-input",)
    overwrite(padded, padded.stat().st_size - 10, b"another")
    assert found() == ("the slide's file differs",)


def test_a_result_made_with_verify_input_is_compared_byte_for_byte(padded: Path, tmp_path: Path) -> None:
    run(padded, tmp_path / "out", block=128, verify_input=True)
    made = json.loads((tmp_path / "out" / "summary.json").read_text())
    wanted = config(block=128, verify_input=True)
    assert differences(made, padded, tmp_path / "out", wanted, OracleSegmenter()) == ()
    overwrite(padded, UNSEEN, b"\0\1\2\3")
    assert differences(made, padded, tmp_path / "out", wanted, OracleSegmenter()) == ("the slide's content differs",)


def test_a_slide_that_changes_while_it_is_read_gives_no_result(padded: Path, tmp_path: Path) -> None:
    def change(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 3:
            overwrite(padded, padded.stat().st_size - 100, bytes(100))

    whole = padded.read_bytes()
    with pytest.raises(SlideError, match="changed while it was read"):
        run(padded, tmp_path / "out", on_event=change, block=128)
    assert not (tmp_path / "out" / "summary.json").exists()
    padded.write_bytes(whole)
    assert run(padded, tmp_path / "out", block=128).resumed_blocks == 0


def test_a_slide_that_is_touched_while_it_is_read_is_still_the_same(padded: Path, tmp_path: Path) -> None:
    def touch(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 3:
            os.utime(padded)

    assert run(padded, tmp_path / "out", on_event=touch, block=128).nuclei > 0


def test_holes_are_noted_in_the_summary(padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsinuc.workflows.segment.slide_input.hole_share", lambda path: 0.25)
    assert "25.0% of the slide's file was never written" in run(padded, tmp_path / "out", block=128).notes[0]


def test_the_option_is_there() -> None:
    from wsinuc_cli.main import main

    assert "--verify-input" in CliRunner().invoke(main, ["segment", "--help"]).stdout
