"""Slides of several levels or files, as far as telling slides apart needs them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tifffile


def pyramid(path: Path, *, big: bool, order: str, sub_ifds: bool = False) -> Path:
    """A tiled pyramid of three levels, 9 MB, without compression."""
    pixels = np.random.default_rng(2).integers(0, 255, (1792, 1792, 3), np.uint8)
    layout = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:  # type: ignore[arg-type]
        tiff.write(pixels, subifds=2 if sub_ifds else None, **layout)
        for step in (2, 4):
            tiff.write(np.ascontiguousarray(pixels[::step, ::step]), subfiletype=1, **layout)
    return path


def mrxs(folder: Path, name: str) -> Path:
    inner = folder / name
    inner.mkdir(parents=True)
    (inner / "Slidedat.ini").write_text("[GENERAL]")
    for index in range(3):
        (inner / f"Data{index:04d}.dat").write_bytes(np.random.default_rng(index).bytes(5000))
    path = folder / f"{name}.mrxs"
    path.write_bytes(b"\xff\xd8 thumbnail")
    return path


def dicom(path: Path, series: str, pixels: bytes) -> Path:
    """The head of a DICOM file as far as it says to which series it belongs; it refers to another one, too."""

    def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, kind, len(value)) + value

    def uid(text: str) -> bytes:
        return (text + "\0" * (len(text) % 2)).encode()

    nested = element(0x20, 0x0E, b"UI", uid("9.9.9"))
    referred = struct.pack("<HH2sHI", 0x08, 0x1115, b"SQ", 0, len(nested) + 8)
    referred += struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
    own = element(0x20, 0x0D, b"UI", uid("1.2")) + element(0x20, 0x0E, b"UI", uid(series))
    path.write_bytes(bytes(128) + b"DICM" + element(0x08, 0x18, b"UI", uid("1.1")) + referred + own + pixels)
    return path
