"""Zips of entries that were compressed beforehand: any reader takes them, also behind 4 GiB."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from wsinuc.exports.qupath import zip_writer
from wsinuc.exports.qupath.zip_writer import Deflated, ZipWriter

CONTENTS = {"a.txt": b"", "b.txt": b"nucleus " * 1000, "c.txt": bytes(range(256))}


def written(stream: io.BufferedIOBase) -> None:
    writer = ZipWriter(stream)
    for name, content in CONTENTS.items():
        writer.add(name, Deflated.of(content))
    assert writer.count == len(CONTENTS)
    writer.close()


def test_zipfile_reads_what_is_written() -> None:
    stream = io.BytesIO()
    written(stream)
    with zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert (info.create_system, info.external_attr >> 16) == (3, 0o644)
            assert (info.compress_type, info.flag_bits, info.extra) == (zipfile.ZIP_DEFLATED, 0, b"")


def test_headers_are_those_of_zipfile_to_the_byte() -> None:
    """With nothing inside, so that it does not matter who compressed it."""
    ours, theirs = io.BytesIO(), io.BytesIO()
    writer = ZipWriter(ours)
    with zipfile.ZipFile(theirs, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.txt", "b.txt"):
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, b"")
            writer.add(name, Deflated(data=b"\3\0", crc=0, size=0))
    writer.close()
    assert ours.getvalue() == theirs.getvalue()


@pytest.mark.parametrize("start", [2**31 + 1, 2**32 + 1])
def test_offsets_that_need_64_bits(tmp_path: Path, start: int) -> None:
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.seek(start)  # a hole, as if so many bytes of entries stood there
        written(file)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].header_offset == start
        assert archive.testzip() is None
        assert archive.read("b.txt") == CONTENTS["b.txt"]


def test_more_entries_than_16_bits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_writer, "_FULL_16", 2)
    stream = io.BytesIO()
    written(stream)
    with zipfile.ZipFile(stream) as archive:
        assert len(archive.namelist()) == 3
