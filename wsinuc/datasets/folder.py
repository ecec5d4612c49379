"""A folder of annotated images: ``images/NAME.png``, ``labels/NAME.png`` and ``manifest.csv``.

Images are 8-bit RGB. Labels are integer PNGs (16 bit, or 8 bit for fewer than 256 nuclei) of the same size, 0 is
background, one number per nucleus. The manifest has one line per image: ``name``, then any attributes (patient,
organ, stain ...) as text, by which images can be chosen. A column ``mpp`` (um per pixel), where there is one, is the
image's resolution unless the user gives another.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsinuc.config import MPP_RANGE
from wsinuc.errors import DataError, MppError

Conditions = Mapping[str, frozenset[str]]
"""Attribute -> the values that are meant."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledImage:
    """One annotated image."""

    name: str
    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    labels: NDArray[np.int32]
    """(h, w) 0 is background, one number per nucleus."""
    attributes: Mapping[str, str]
    """The image's line of the manifest."""
    mpp: float
    """um per pixel."""


@dataclass(frozen=True, slots=True)
class FolderDataset(Sequence[LabelledImage]):
    """Annotated images of one folder, in the manifest's order; opening it reads the manifest only.

    Examples
    --------
    >>> dataset = FolderDataset.open("tnbc", mpp=0.25)  # doctest: +SKIP
    >>> held_out = dataset.where({"patient": frozenset({"09", "10", "11"})})  # doctest: +SKIP
    """

    path: Path
    rows: tuple[Mapping[str, str], ...]
    """Lines of the manifest that are part of this data set."""
    mpp: float | None
    """um per pixel of all images; None takes the manifest's column ``mpp``."""

    @classmethod
    def open(cls, path: Path | str, *, mpp: float | None = None) -> FolderDataset:
        """The data set in ``path``; raises DataError, or MppError when the resolution is unknown or absurd."""
        path = Path(path)
        rows = _read_manifest(path / "manifest.csv")
        for row in rows:
            _resolution(row, mpp)
        return cls(path=path, rows=rows, mpp=mpp)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, in order."""
        return tuple(row["name"] for row in self.rows)

    def where(self, wanted: Conditions = {}, unwanted: Conditions = {}) -> FolderDataset:  # noqa: B006 (read only)
        """Only the images that have one of the wanted values of every attribute, and none of the unwanted.

        Raises
        ------
        DataError
            An attribute is no column of the manifest, a value is nobody's, or no image is left.
        """
        for attribute, values in [*wanted.items(), *unwanted.items()]:
            self._check_condition(attribute, values)
        rows = tuple(
            row
            for row in self.rows
            if all(row[attribute] in values for attribute, values in wanted.items())
            and not any(row[attribute] in values for attribute, values in unwanted.items())
        )
        if not rows:
            raise DataError(f"none of the {len(self)} images of {self.path} meets all conditions together")
        return replace(self, rows=rows)

    def _check_condition(self, attribute: str, values: frozenset[str]) -> None:
        if attribute not in self.rows[0]:
            raise DataError(f"{self.path}/manifest.csv has no column {attribute!r}; it has {', '.join(self.rows[0])}")
        known = {row[attribute] for row in self.rows}
        if not values <= known:
            shown = ", ".join(sorted(known)[:20])
            raise DataError(f"no image has {attribute}={','.join(sorted(values - known))}; the values are: {shown}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> FolderDataset: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | FolderDataset:
        """The image at ``index``, read now, or a part of the data set; raises DataError for damaged files."""
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        row = self.rows[index]
        image = read_image(self.path / "images" / f"{row['name']}.png")
        labels = read_labels(self.path / "labels" / f"{row['name']}.png")
        if image.shape[:2] != labels.shape:
            raise DataError(f"{row['name']}: the image is {image.shape[:2]} (h, w) but its labels are {labels.shape}")
        return LabelledImage(
            name=row["name"], image=image, labels=labels, attributes=row, mpp=_resolution(row, self.mpp)
        )


def parse_conditions(texts: Sequence[str]) -> dict[str, frozenset[str]]:
    """Conditions as the user writes them; raises DataError for other forms.

    Examples
    --------
    >>> sorted(parse_conditions(["patient=09,10"])["patient"])
    ['09', '10']
    """
    conditions: dict[str, frozenset[str]] = {}
    for text in texts:
        attribute, equals, values = text.partition("=")
        if not (attribute and equals and values):
            raise DataError(f"a condition looks like patient=09,10, got {text!r}")
        conditions[attribute] = conditions.get(attribute, frozenset()) | frozenset(values.split(","))
    return conditions


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB pixels (h, w, 3) of an image file; raises DataError."""
    with _open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_labels(path: Path) -> NDArray[np.int32]:
    """Instance ids (h, w) of an integer PNG; raises DataError, also for colour masks."""
    with _open(path) as image:
        labels = np.asarray(image)
        if image.mode not in ("L", "I", "I;16", "I;16B"):
            raise DataError(f"{path}: labels must be one channel of integers (16-bit PNG), got a {image.mode} image")
    return labels.astype(np.int32)


def _open(path: Path) -> Image.Image:
    """An image whose pixels are decoded, so that damage shows here."""
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; images and labels are paired by their file names") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded ({error}); copy it again") from error
    return image


def _read_manifest(path: Path) -> tuple[Mapping[str, str], ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = tuple(csv.DictReader(file, restval=""))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; a data set is a folder with images/, labels/ and manifest.csv") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from error
    if not rows or "name" not in rows[0]:
        raise DataError(f"{path} must have a header with a column 'name' and one line per image")
    names = [row["name"] for row in rows]
    for name in names:
        if not name or Path(name).name != name:
            raise DataError(f"{path}: a name must be a plain file name without its extension, got {name!r}")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: each name may stand once, got {next(n for n in names if names.count(n) > 1)!r} twice")
    return rows


def _resolution(row: Mapping[str, str], given: float | None) -> float:
    """um per pixel of an image: the user's word, else the manifest's, never a guess."""
    try:
        mpp = given if given is not None else float(row["mpp"])
    except (KeyError, ValueError):
        raise MppError(
            f"the resolution of {row['name']} is not recorded in the manifest (column mpp); give it with --mpp, "
            "0.25 is usual for 40x, 0.5 for 20x"
        ) from None
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise MppError(f"mpp of {row['name']} must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]}, got {mpp:g}")
    return mpp
