"""Look for tissue that both teaches and measures: `python examples/check_leakage.py DATA`.

DATA holds folders of images (`SET/images/`, `SET/manifest.csv`). What measures is in `evaluation`; the rest may teach.
Three searches, and a table of what each found:

* **the same picture**: a perceptual hash of 64 bits (Zauner 2010: signs of the 8 x 8 lowest frequencies of its cosine
  transform) of every image in its eight orientations; at most `NEAR` bits differ.
* **the same place**: squares of `SIDE` px of what measures, at `MPP`, slid over everything that may teach; the highest
  normalised correlation. Neighbouring fields of one slide that overlap are found, turned or rescaled ones are not.
* **the same patient**: TCGA's barcodes in names.

It ends with 1 when something is found: a patient that is shared has to be left out by name
(`docs/reference/test-data.md`).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from finish_model import HELD_OUT
from nuinsseg_split import SPLIT
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter, uniform_filter

from wsinuc.datasets.sampling.split import Split
from wsinuc.orientation import dihedral

MPP = 2.0
SIDE = 24
"""Of the squares that are looked for, in px: 48 um."""
COARSE = 4.0
"""What is smoother than a Gaussian of so many px is taken away: pale and dark halves are alike everywhere."""
CONTRAST = 6.0
"""Least standard deviation of a square in grey levels: glass is like glass."""
WIDE = 1200
"""Width in px of the sheet on which a set is laid out."""
NEAR = 8
"""Bits of 64; unrelated pictures differ in about 32."""
ALIKE = 0.8
"""Correlation from which on two places are held to be the same."""
USUAL_MPP = {"nuinsseg": 0.16, "brca_m2c": 0.5, "nct_crc": 0.5, "nucls_points": 0.2}
"""um per px of sets that do not record it, where it is not 0.25."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image as the searches see it."""

    collection: str
    name: str
    grey: NDArray[np.float32]
    """(h, w) at `MPP`, without what is coarse."""
    hashes: NDArray[np.bool_]
    """(8, 64) of its orientations, first as it is."""

    @property
    def patient(self) -> str:
        """TCGA's barcode, or nothing."""
        return self.name[:12] if self.name.startswith("TCGA-") else ""


def perceptual_hash(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(64,) signs of the lowest frequencies of a square picture, the mean left out."""
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    return low > np.median(low[1:])


def read_picture(collection: str, path: Path, mpp: float) -> Picture:
    """One image file."""
    with Image.open(path) as file:
        grey = file.convert("L")
    small = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), np.float32)
    hashes = np.stack([perceptual_hash(dihedral(small, turn)) for turn in range(8)])
    size = [max(1, round(side * mpp / MPP)) for side in grey.size]
    pixels = np.asarray(grey.resize((size[0], size[1]), Image.Resampling.BOX), np.float32)
    return Picture(collection, path.stem, pixels - gaussian_filter(pixels, COARSE), hashes)


def read_pictures(data: Path) -> list[Picture]:
    """Every image of every set."""
    found = []
    for folder in sorted(path for path in data.iterdir() if (path / "images").is_dir()):
        table = folder / "manifest.csv"
        rows = csv.DictReader(table.open()) if table.is_file() else []
        recorded = {row["name"]: row.get("mpp") for row in rows}
        for path in sorted((folder / "images").iterdir()):
            mpp = float(recorded.get(path.stem) or USUAL_MPP.get(folder.name, 0.25))
            found.append(read_picture(folder.name, path, mpp))
    return found


def evaluation(data: Path) -> dict[str, Callable[[Picture], bool]]:
    """Name of each set that measures, and what belongs to it."""
    with (data / "tnbc" / "manifest.csv").open() as stream:
        tnbc = {row["name"] for row in csv.DictReader(stream) if row["patient"] in HELD_OUT}
    parts = Split.load(SPLIT).parts

    def among(collection: str, names: set[str] | None, picture: Picture) -> bool:
        return picture.collection == collection and (names is None or picture.name in names)

    return {
        "monuseg2018_train": partial(among, "monuseg2018_train", None),
        "tnbc 09-11": partial(among, "tnbc", tnbc),
        "nuinsseg held_organs": partial(among, "nuinsseg", {name for name, _ in parts["held_organs"]}),
        "nuinsseg held_images": partial(among, "nuinsseg", {name for name, _ in parts["held_images"]}),
    }


def squares(picture: Picture) -> Iterator[NDArray[np.float32]]:
    """Squares of `SIDE` px side by side that are not empty."""
    height, width = picture.grey.shape
    for y in range(0, height - SIDE + 1, SIDE):
        for x in range(0, width - SIDE + 1, SIDE):
            square = picture.grey[y : y + SIDE, x : x + SIDE]
            if square.std() > CONTRAST:
                yield square


class Sheet:
    """The pictures of a set side by side, so that a square is looked for in all of them at once."""

    def __init__(self, pictures: list[Picture]) -> None:
        self._pictures = pictures
        places = list(laid_out([p.grey.shape for p in pictures]))
        height = max(y + p.grey.shape[0] for (y, _), p in zip(places, pictures, strict=True))
        width = max(x + p.grey.shape[1] for (_, x), p in zip(places, pictures, strict=True))
        pixels = np.zeros((next_fast_len(height + SIDE, real=True), next_fast_len(width + SIDE, real=True)))
        self._owner = np.full(pixels.shape, -1)
        for index, ((y, x), picture) in enumerate(zip(places, pictures, strict=True)):
            rows, columns = picture.grey.shape
            pixels[y : y + rows, x : x + columns] = picture.grey
            # Squares that begin here lie in this picture.
            self._owner[y : y + rows - SIDE + 1, x : x + columns - SIDE + 1] = index
        begins = {"size": SIDE, "origin": -(SIDE // 2), "mode": "constant"}
        mean = uniform_filter(pixels, **begins)
        spread = np.sqrt(np.maximum(uniform_filter(pixels**2, **begins) - mean**2, 0))
        self._spread = np.where((self._owner >= 0) & (spread > CONTRAST), spread, np.inf)
        self._shape = pixels.shape
        self._waves = rfft2(pixels.astype(np.float32)).conj()

    def highest(self, square: NDArray[np.float32]) -> tuple[float, str]:
        """The highest normalised correlation of a square with any place, and whose place that is."""
        waves = rfft2(square - square.mean(), s=self._shape)
        # The transform of what correlates runs backwards: the place y, x stands at -y, -x.
        found = np.roll(irfft2(self._waves * waves, s=self._shape)[::-1, ::-1], 1, axis=(0, 1))
        values = found / (self._spread * square.std() * SIDE**2)
        best = int(values.argmax())
        return float(values.flat[best]), self._pictures[int(self._owner.flat[best])].name


def laid_out(shapes: list[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    """Corners (y, x) of rectangles in rows of at most `WIDE` px."""
    y = x = tallest = 0
    for height, width in shapes:
        if x and x + width > WIDE:
            y += tallest
            x = tallest = 0
        yield y, x
        x += width
        tallest = max(tallest, height)


def distance(picture: Picture, other: Picture) -> int:
    """Fewest bits in which the hash of one differs from an orientation of the other."""
    return int((picture.hashes[0] ^ other.hashes).sum(1).min())


def compare(measuring: list[Picture], teaching: list[Picture]) -> tuple[str, int]:
    """The end of a line of the table, and how many images of ``measuring`` were found again."""
    same = {p.name for p in measuring for other in teaching if distance(p, other) <= NEAR}
    best = -1.0
    pair = ("", "")
    places = set()
    sheet = Sheet(teaching)
    for picture in measuring:
        for square in squares(picture):
            value, name = sheet.highest(square)
            if value > ALIKE:
                places.add(picture.name)
            if value > best:
                best = value
                pair = (picture.name, name)
    patients = {p.patient for p in measuring} & {p.patient for p in teaching} - {""}
    line = f"{len(same):6} {len(places):6} {len(patients):8}   {best:.2f}  {pair[0]}  {pair[1]}"
    return line, len(same | places | patients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    pictures = read_pictures(data)
    measures = evaluation(data)
    teaching = [p for p in pictures if not any(belongs(p) for belongs in measures.values())]
    found = 0
    print("measures              teaches             images   same places patients   highest correlation")
    for name, belongs in measures.items():
        measuring = [p for p in pictures if belongs(p)]
        for collection in sorted({p.collection for p in teaching}):
            chosen = [p for p in teaching if p.collection == collection]
            line, count = compare(measuring, chosen)
            found += count
            print(f"{name:21} {collection:18} {len(chosen):7} {line}", flush=True)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
