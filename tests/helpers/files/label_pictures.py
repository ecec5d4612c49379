"""Label pictures as people save them: the same nuclei in every odd form, for tests of what is understood or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.draw import disk

SHAPE = (160, 200)
CENTRES = ((30, 30), (30, 90), (34, 150), (80, 50), (84, 120), (85, 146), (130, 30), (130, 100), (120, 170))
"""Of nine nuclei of a radius of 12 px; the fifth and sixth nearly touch."""


def nuclei() -> np.ndarray:
    """int32 labels 1..9."""
    labels = np.zeros(SHAPE, np.int32)
    for number, centre in enumerate(CENTRES, start=1):
        labels[disk(centre, 12, shape=SHAPE)] = number
    return labels


def smooth_mask() -> np.ndarray:
    """A mask 0 to 255 with grey rims, as anti-aliased drawings have them."""
    return np.rint(ndimage.gaussian_filter((nuclei() > 0) * 255.0, 0.8)).astype(np.uint8)


def jpeg_mask() -> np.ndarray:
    """A mask that was compressed as JPEG."""
    stream = BytesIO()
    Image.fromarray(((nuclei() > 0) * 255).astype(np.uint8)).save(stream, "JPEG", quality=75)
    return np.asarray(Image.open(stream))


def bordered(inside: int, border: int) -> np.ndarray:
    """Three classes: background, inside, and a border of two pixels."""
    mask = nuclei() > 0
    inner = ndimage.binary_erosion(mask, iterations=2)
    return (mask * border + inner * (inside - border)).astype(np.uint8)


def coloured() -> np.ndarray:
    """One colour per nucleus, of three that repeat."""
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 80, 255]], np.uint8)
    labels = nuclei()
    return palette[np.where(labels > 0, 1 + labels % 3, 0)]


@dataclass(frozen=True)
class Picture:
    """A file to be written, and what is to come of it."""

    name: str
    write: Callable[[Path], object]
    nuclei: int | None
    """How many are found; None is refused."""
    said: str
    """Part of the note, or of the error; empty without a note."""


def png(values: np.ndarray, **options: object) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(values).save(path.with_suffix(".png"), **options)


def tif(values: np.ndarray, **options: object) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path.with_suffix(".tif"), values, **options)


def palette_png(values: np.ndarray, colours: list[int]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        image = Image.fromarray(values.astype(np.uint8), "P")
        image.putpalette(colours)
        image.save(path.with_suffix(".png"))

    return write


def few_bits(bits: int) -> Callable[[Path], object]:
    """Grey PNG of 2 or 4 bits, which Pillow itself does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def write(path: Path) -> None:
        labels = np.minimum(nuclei(), 2**bits - 1).astype(np.uint8)
        each = 8 // bits
        rows = labels.reshape(SHAPE[0], -1, each)
        packed = sum(rows[..., i].astype(np.uint16) << (8 - bits * (i + 1)) for i in range(each)).astype(np.uint8)
        raw = b"".join(b"\0" + row.tobytes() for row in packed)
        head = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], bits, 0, 0, 0, 0)
        content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
        path.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)

    return write


def deep_colour_png(path: Path) -> None:
    """16 bits in each of three channels."""
    import imagecodecs

    path.with_suffix(".png").write_bytes(imagecodecs.png_encode(coloured().astype(np.uint16) * 257))


def pictures() -> list[Picture]:
    """Every kind of label picture that is known to occur."""
    labels = nuclei()
    mask = labels > 0
    classes = np.where(mask, 1 + labels % 3, 0)
    apart = "taken apart into connected components"
    scattered = "several pieces far apart"
    inverted = np.where(mask, 0, 255).astype(np.uint8)
    with_alpha = np.dstack([coloured(), np.where(mask, 255, 0).astype(np.uint8)])
    half = np.dstack([coloured(), np.where(mask, 128, 0).astype(np.uint8)])
    half[0, 0, 3] = 255
    repeated = np.repeat(labels.astype(np.uint8)[..., None], 3, axis=2)
    background = labels + 1
    three = np.where(mask, labels, 0)
    three[three > 2] = 2
    rng = np.random.default_rng(0)
    photograph = rng.integers(1, 255, (*SHAPE, 3), np.uint8)
    far = labels.astype(np.int64) * 5_000_000_000
    return [
        Picture("ids-8", png(labels.astype(np.uint8)), 9, ""),
        Picture("ids-16", png(labels.astype(np.uint16)), 9, ""),
        Picture("mask-255", png((mask * 255).astype(np.uint8)), 9, f"0 and 255 only: {apart}"),
        Picture("mask-1", png(mask.astype(np.uint8)), 9, f"0 and 1 only: {apart}"),
        Picture("mask-65535", png((mask * 65535).astype(np.uint16)), 9, f"0 and 65535 only: {apart}"),
        Picture("mask-bit", png(mask), 9, f"0 and 1 only: {apart}"),
        Picture("mask-bit-tif", tif(mask, photometric="minisblack"), 9, f"0 and 1 only: {apart}"),
        Picture("mask-float", tif(mask.astype(np.float32)), 9, f"0 and 1 only: {apart}"),
        Picture("mask-rgb", png(np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)), 9, apart),
        Picture("mask-rgba", png(np.dstack([mask * 255] * 3 + [mask * 0 + 255]).astype(np.uint8)), 9, apart),
        Picture("mask-inverted", png(inverted), None, "the mask is inverted"),
        Picture("mask-smooth", png(smooth_mask()), None, "anti-aliased"),
        Picture("mask-jpeg", png(jpeg_mask()), None, "JPEG"),
        Picture("classes", png(classes.astype(np.uint8)), 9, scattered),
        Picture("ids-used-twice", png(np.where(mask, 1 + (labels - 1) % 5, 0).astype(np.uint8)), 9, scattered),
        Picture("one-id-scattered", png(np.where(labels == 9, 1, labels).astype(np.uint8)), 9, scattered),
        Picture("borders-1-2", png(bordered(1, 2)), None, "the number 2 encloses"),
        Picture("borders-2-1", png(bordered(2, 1)), None, "the number 1 encloses"),
        Picture("borders-255-128", png(bordered(255, 128)), None, "the number 128 encloses"),
        Picture("background-numbered", png(background.astype(np.uint8)), None, "the number 1 encloses"),
        Picture("colours", png(coloured()), 9, "each connected piece of one colour"),
        Picture("colours-alpha", png(with_alpha), 9, "each connected piece of one colour"),
        Picture("colours-half-transparent", png(half), None, "half transparent"),
        Picture("colours-16-bit", deep_colour_png, None, "16-bit colours"),
        Picture("colours-16-bit-tif", tif(coloured().astype(np.uint16) * 257, photometric="rgb"), None, "uint16"),
        Picture("colours-planar-tif", tif(np.moveaxis(coloured(), 2, 0), photometric="rgb"), 9, "of one colour"),
        Picture("same-in-all-channels", png(repeated), 9, "the same value in all colour channels"),
        Picture("photograph", png(photograph), None, "without black background"),
        Picture("palette", palette_png(labels, [0, 0, 0, 9, 9, 9] * 8), 9, "the index of a colour"),
        Picture("palette-mask", palette_png(mask, [0, 0, 0, 255, 255, 255]), 9, apart),
        Picture("palette-inverted", palette_png(mask, [255, 255, 255, 0, 0, 0]), None, "not clear which is"),
        Picture("bits-4", few_bits(4), 9, ""),
        Picture("int64", tif(labels.astype(np.int64)), 9, ""),
        Picture("int32", tif(labels), 9, ""),
        Picture("uint32", tif(labels.astype(np.uint32)), 9, ""),
        Picture("uint64", tif(labels.astype(np.uint64)), 9, ""),
        Picture("float64-whole", tif(labels.astype(np.float64)), 9, ""),
        Picture("float-fractions", tif(labels.astype(np.float32) / 9), None, "fractions"),
        Picture("float-nan", tif(np.where(mask, np.nan, 0).astype(np.float32)), None, "nan"),
        Picture("float-infinite", tif(np.where(mask, np.inf, 0).astype(np.float32)), None, "inf"),
        Picture("negative", tif(np.where(mask, labels, -1)), None, "got -1"),
        Picture("complex", tif(labels.astype(np.complex64)), None, "of type complex64"),
        Picture("gaps", png((labels * 7000).astype(np.uint16)), 9, ""),
        Picture("above-65535", tif(labels * 100_000), 9, ""),
        Picture("far-above", tif(far), 9, "numbered anew"),
        Picture("far-above-uint32", tif(labels.astype(np.uint32) * 400_000_000), 9, "numbered anew"),
        Picture(
            "beyond-int64", tif(np.where(mask, 2**64 - 1, 0).astype(np.uint64)), None, "got 0 to 18446744073709551615"
        ),
        Picture("pages", tif(np.stack([labels, labels]).astype(np.uint16), photometric="minisblack"), None, "2 pages"),
        Picture(
            "channels", tif(np.stack([labels] * 5, 2).astype(np.uint16), planarconfig="contig"), None, "5 channels"
        ),
        Picture("jpeg-tif", tif((mask * 255).astype(np.uint8), compression="jpeg"), None, "without loss, got JPEG"),
        Picture("lzw-tif", tif(labels.astype(np.uint16), compression="lzw"), 9, ""),
        Picture("empty", png(np.zeros(SHAPE, np.uint8)), 0, "no nucleus is annotated"),
        Picture("other-size", png(labels[:-1].astype(np.uint8)), None, "belong to another image"),
        Picture(
            "cut-off",
            lambda path: path.with_suffix(".tif").write_bytes(b"II*\0\x08\0\0\0\xff"),
            None,
            "cannot be decoded",
        ),
    ]
