"""Odd slides: every dialect of TIFF, ordinary images, formats of several files, names, and what is no slide at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from helpers.files import dicom, slide_variants
from helpers.files.label_pictures import CENTRES
from helpers.files.tiff_dialects import LAYOUTS, Layout, grey_picture, picture, write
from helpers.files.tiff_refusals import HOSTILE, REFUSED, Refusal
from helpers.odd import resolutions, tissue
from helpers.odd.doors import Given, Gives, Refused, with_options
from helpers.odd.inputs import Row
from helpers.odd.no_files import NO_FILES, make_no_file
from wsinuc.errors import MppError, SlideError
from wsinuc.grid import Box

MPP = 0.5
ANSI = "a\x1b[2Jb.png"


def rows() -> Iterator[Row]:
    """All of them."""
    yield from map(_of_layout, LAYOUTS)
    yield from map(_of_refusal, [*REFUSED, *HOSTILE])
    yield from _no_files()
    yield from _images()
    yield from _names()
    yield from _several_files()
    yield from resolutions.rows()
    yield from _segmented()
    yield from _tissue()
    yield from _hostile_readers()


def _of_layout(layout: Layout) -> Row:
    def make(folder: Path) -> Path:
        layout.write(folder / f"slide{layout.suffix}")
        return folder / f"slide{layout.suffix}"

    expected = layout.expected or (_grey if layout.grey else picture)
    gives = Gives(expected, layout.note, layout.tolerance)
    return Row(name=f"TIFF: {layout.name}", door="open_slide", make=make, expected=gives)


def _of_refusal(refusal: Refusal) -> Row:
    def make(folder: Path) -> Path:
        refusal.write(folder / f"slide{refusal.suffix}")
        return folder / f"slide{refusal.suffix}"

    says = {
        "a million pixels a side": "need 244140625 tiles",
        "wide tiles": "claims tiles of",
        "two widths": "imagewidth must be one whole number",
    }
    expected = Refused(SlideError, says.get(refusal.name, refusal.says))
    return Row(name=f"TIFF refused: {refusal.name}", door="open_slide", make=make, expected=expected)


def _grey() -> np.ndarray:
    return np.repeat(grey_picture()[..., None], 3, axis=2)


def _no_files() -> Iterator[Row]:
    for kind, says in NO_FILES.items():
        make = partial(make_no_file, kind)
        yield Row(name=f"no file: {kind}", door="open_slide", make=make, expected=Refused(SlideError, says))
    folders = {
        "OME-Zarr": ("zarr.json", "export it as OME-TIFF"),
        "OME-Zarr 0.4": (".zattrs", "export it as OME-TIFF"),
        "a result": ("summary.json", "holds a result of wsinuc"),
        "slides": ("a.svs", "name the slide's file inside it"),
        "nothing": (None, "it is empty"),
    }
    for name, (content, says) in folders.items():
        make = partial(_folder, content)
        yield Row(name=f"a folder of {name}", door="open_slide", make=make, expected=Refused(SlideError, says))
    contents = {
        "empty": (b"", "is empty"),
        "text": (b"no slide at all", "no slide"),
        "a web page": (b"<!DOCTYPE html><html><body>404</body></html>", "no slide"),
        "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "no slide"),
        "a zip": (b"PK\3\4" + bytes(100), "no slide"),
        "the start of a TIFF": (b"II*\0\x08\0\0\0", "no slide"),
        "zeros": (bytes(5000), "no slide"),
    }
    for name, (content, says) in contents.items():
        make = partial(_file, "slide.svs", content)
        yield Row(name=f"no slide: {name}", door="open_slide", make=make, expected=Refused(SlideError, says))


def _folder(name: str | None, folder: Path) -> Path:
    inner = folder / "slide"
    inner.mkdir()
    if name is not None:
        (inner / name).write_text("{}")
    return inner


def _file(name: str, content: bytes, folder: Path) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def _saved(image: Callable[[], Image.Image], name: str, folder: Path, **options: Any) -> Path:
    image().save(folder / name, **options)
    return folder / name


def _veiled() -> Image.Image:
    alpha = np.full(picture().shape[:2], 255, np.uint8)
    alpha[:, 250:] = 0
    return Image.fromarray(np.dstack([picture(), alpha]))


def _veiled_on_white() -> np.ndarray:
    whole = picture().copy()
    whole[:, 250:] = 255
    return whole


def _image() -> Image.Image:
    return Image.fromarray(picture())


def _images() -> Iterator[Row]:
    plain = Gives(picture)
    turned = Image.Exif()
    turned[274] = 6
    kinds: dict[str, tuple[Callable[[Path], Path], Gives | Refused]] = {
        "PNG": (partial(_saved, _image, "a.png"), plain),
        "BMP": (partial(_saved, _image, "a.bmp"), Refused(SlideError, "neither PNG nor JPEG nor TIFF")),
        "PNG under the name of a JPEG": (partial(_saved, _image, "a.jpg", format="PNG"), plain),
        "PNG under the name of a slide": (partial(_saved, _image, "a.svs", format="PNG"), plain),
        "grey PNG": (partial(_saved, lambda: Image.fromarray(grey_picture()), "a.png"), Gives(_grey)),
        "transparent PNG": (partial(_saved, _veiled, "a.png"), Gives(_veiled_on_white, "on white")),
        "WebP": (partial(_saved, _image, "a.webp"), Refused(SlideError, "neither PNG nor JPEG nor TIFF")),
        "JPEG on its side": (
            partial(
                _saved, lambda: Image.fromarray(np.rot90(picture())), "a.jpg", exif=turned, quality=100, subsampling=0
            ),
            Gives(picture, "orientation 6", tolerance=8),
        ),
        "one pixel": (partial(_saved, lambda: Image.new("RGB", (1, 1), "red"), "a.png"), Gives(_red)),
        "a line of one pixel": (
            partial(_saved, lambda: Image.new("RGB", (300, 1), "red"), "a.png"),
            Gives(lambda: np.repeat(_red(), 300, axis=1)),
        ),
        "PNG cut off": (_cut_png, Refused(SlideError, "cannot open it")),
        "PNG that claims a billion pixels a side": (_claiming_png, Refused(SlideError, "claims 3,000,000,000,000,0")),
        "an animation": (_animation, Refused(SlideError, "neither PNG nor JPEG nor TIFF")),
    }
    for name, (make, expected) in kinds.items():
        yield Row(name=f"image: {name}", door="open_slide", make=make, expected=expected)


def _red() -> np.ndarray:
    return np.array([[[255, 0, 0]]], np.uint8)


def _cut_png(folder: Path) -> Path:
    path = _saved(_image, "a.png", folder)
    path.write_bytes(path.read_bytes()[:3000])
    return path


def _claiming_png(folder: Path) -> Path:
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 10**9, 10**9, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + end
    return _file("a.png", content, folder)


def _animation(folder: Path) -> Path:
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "green")]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    return folder / "a.gif"


def _names() -> Iterator[Row]:
    for name in (
        "with blanks  twice.png",
        "-rf.png",
        "per%20cent#and?.png",
        "quote'\".png",
        "Schnitt µ 組織 🔬.png",
        "e\u0301.png",
        "[a-z]*.png",
        "$(reboot).png",
        ANSI,
        "two\nlines.png",
        "\u202egnp.svs.png",
        os.fsdecode(b"latin-\xe9.png"),
        "x" * 240 + ".png",
    ):
        shown = name.encode("unicode_escape", "surrogateescape").decode()[:40]
        make = partial(_saved, _image, name)
        yield Row(name=f"name: {shown}", door="open_slide", make=make, expected=Gives(picture))
        yield Row(
            name=f"name of what is no slide: {shown}",
            door="open_slide",
            make=partial(_file, name, b"x"),
            expected=Refused(SlideError, "no slide"),
        )
    for name in ("x" * 300 + ".svs", "a\0b.svs"):
        make = partial(_named, name)
        yield Row(
            name=f"name that cannot be: {name.encode('unicode_escape').decode()[:20]}",
            door="open_slide",
            make=make,
            expected=Refused(SlideError, "cannot be read"),
        )
    make = partial(_file, ANSI, b"x")
    for words in (["info"], ["segment", "--dry-run"]):
        yield Row(
            name=f"name with an escape sequence, {words[0]}",
            door="command line",
            make=partial(with_options, make, {"command": words}),
            expected=Gives(1, "error: a\\x1b[2Jb.png"),
        )


def _named(name: str, folder: Path) -> Path:
    return folder / name


def _several_files() -> Iterator[Row]:
    index = b"[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\nImageFile(1,0)=b.jpg\nMapFile=m.jpg\n"
    kinds: dict[str, tuple[Callable[[Path], Path], str]] = {
        "MRXS without its folder": (partial(_saved, _image, "a.mrxs", format="JPEG"), "the folder a/ is missing"),
        "MRXS of noise": (lambda folder: slide_variants.mrxs(folder, "a"), "cannot open it (Key file does not have"),
        "VMS without its images": (partial(_file, "a.vms", index), "a.jpg is missing beside a.vms"),
        "VMS that names a file elsewhere": (
            partial(_file, "a.vms", index.replace(b"a.jpg", b"../../etc/passwd")),
            "is missing beside a.vms",
        ),
        "VMS that names a file of 300 letters": (
            partial(_file, "a.vms", index.replace(b"a.jpg", b"a" * 300)),
            "is missing beside a.vms",
        ),
        "VSI without its folder": (partial(_file, "a.vsi", b"II*\0"), "the folder _a_/ is missing"),
        "DICOM of nothing but a head": (
            lambda folder: slide_variants.dicom(folder / "a.dcm", "1.2", b""),
            "no slide OpenSlide reads",
        ),
        "NDPIS": (partial(_file, "a.ndpis", b"[NanoZoomer Digital Pathology Image Set]"), ".ndpi"),
        "isyntax": (partial(_file, "a.isyntax", b"<DataObject/>" * 9), "TIFF"),
        "ND2": (partial(_file, "a.nd2", b"\xda\xce\xbe\n" * 9), "OME-TIFF"),
    }
    for name, (make, says) in kinds.items():
        yield Row(name=f"files: {name}", door="open_slide", make=make, expected=Refused(SlideError, says))
    yield Row(
        name="files: a folder of one DICOM series",
        door="a list of slides",
        make=lambda folder: dicom.write_series(folder / "case 7", _blocks(), mpp=MPP)[0].parent,
        expected=Gives(("case 7",)),
    )
    yield Row(
        name="files: the label of a DICOM series opens the slide",
        door="open_slide",
        make=lambda folder: dicom.write_series(folder, _blocks(), mpp=MPP)[-2],
        expected=Gives(_blocks, tolerance=60),
    )


def _blocks() -> np.ndarray:
    return np.random.default_rng(0).integers(90, 255, (10, 12, 3), np.uint8).repeat(16, 0).repeat(16, 1)


@cache
def nuclei() -> np.ndarray:
    """Nine nuclei as the oracle sees them, RGB (160, 200, 3): red and green tell where, and how far inside."""
    image = np.full((160, 200, 3), 255, np.uint8)
    y, x = np.indices(image.shape[:2])
    for centre in CENTRES:
        inside = 1 - np.hypot(y - centre[0], x - centre[1]) / 11
        image[inside > 0, 0] = 20
        image[..., 1] = np.where(inside > 0, 255 - np.round(254 * inside), image[..., 1])
    return image


def _nuclei_tiff(folder: Path, pixels: np.ndarray | None = None, **how: Any) -> Path:
    write(folder / "a.tif", nuclei() if pixels is None else pixels, tile=(64, 64), **how)
    return folder / "a.tif"


def _deep_nuclei(folder: Path) -> Path:
    return _nuclei_tiff(folder, np.round(nuclei().astype(float) * (4095 / 255)).astype(np.uint16))


def _lost_tile(folder: Path) -> Path:
    path = _nuclei_tiff(folder, compression="jpeg", compressionargs={"level": 100, "subsampling": (1, 1)})
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages.first.tags["TileByteCounts"]
        tag.overwrite([20, *tag.value[1:]])
    return path


def _segmented() -> Iterator[Row]:
    nine = Gives(9)
    on_side = [(274, "H", 1, 6, True)]
    kinds: dict[str, tuple[Callable[[Path], Path | Given], Gives | Refused]] = {
        "TIFF": (_nuclei_tiff, nine),
        "12 of 16 bits": (_deep_nuclei, Gives(9, "12-bit")),
        "on its side": (partial(_nuclei_tiff, pixels=np.rot90(nuclei()), extratags=on_side), Gives(9, "orientation 6")),
        "PNG, resolution given": (
            partial(with_options, partial(_drawn, nuclei), {"mpp": MPP}),
            nine,
        ),
        "PNG without a resolution": (
            partial(_drawn, nuclei),
            Refused(MppError, "pass --mpp"),
        ),
        "nothing but glass": (partial(_nuclei_tiff, pixels=np.full((100, 100, 3), 255, np.uint8)), Gives(0)),
        "one pixel": (
            partial(with_options, partial(_drawn, lambda: np.full((1, 1, 3), 255, np.uint8)), {"mpp": MPP}),
            Gives(0),
        ),
        "a pipe": (partial(make_no_file, "pipe"), Refused(SlideError, "is a named pipe")),
        "fluorescence": (
            lambda f: _of_refusal(next(r for r in REFUSED if r.name == "fluorescence")).make(f),
            Refused(SlideError, "DAPI, FITC, TRITC"),
        ),
    }
    for name, (make, expected) in kinds.items():
        yield Row(name=f"segment: {name}", door="segment_slide", make=make, expected=expected)


def _tissue() -> Iterator[Row]:
    half = partial(np.concatenate, axis=1)
    kinds: dict[str, tuple[Callable[[], np.ndarray], tuple[object, ...]]] = {
        "tissue and glass": (lambda: half([tissue.tissue(600, 600), tissue.glass(600, 600)]), (True,)),
        "glass alone": (lambda: tissue.glass(400, 400), (False,)),
        "a stroke of green ink on glass": (
            lambda: tissue.stroke(tissue.glass(600, 600), "green", Box(200, 0, 400, 600)),
            (False, "pen"),
        ),
        "black padding": (lambda: tissue.padded(tissue.tissue(600, 600), 0, 200), (True, "black")),
    }
    for name, (draw, expected) in kinds.items():
        make = partial(_drawn, draw)
        yield Row(name=f"looked at: {name}", door="--tissue auto", make=make, expected=Gives(expected))


def _drawn(draw: Callable[[], np.ndarray], folder: Path) -> Path:
    Image.fromarray(draw()).save(folder / "a.png")
    return folder / "a.png"


def _hostile_readers() -> Iterator[Row]:
    for deed, says in {"abort": "the reader ended with signal 6", "good": ""}.items():
        expected = Refused(SlideError, says) if says else Gives(_hostile_pixels)
        make = partial(_file, f"{deed}-open.svs", b"anything")
        yield Row(name=f"decoder: {deed}", door="a reader process", make=make, expected=expected)


def _hostile_pixels() -> np.ndarray:
    dark = np.arange(2000) % 40 < 12
    image = np.full((2000, 2000, 3), 255, np.uint8)
    image[dark[:, None] & dark] = (40, 40, 200)
    return image
