"""What the numbers of a label picture mean: an array becomes one number per nucleus, or an error that says what it is.

Annotated sets come in odd forms. A picture that is not plainly "0 is background, one number per
nucleus" is either taken apart into connected pieces, with a note that says so, or refused; it is
never believed without a word. The rules, which docs/reference/data-sets.md lists as a table, look
at one picture at a time:

* Colours: the same value in all channels is one channel; other colours on black are taken apart by colour.
* One number alone, 1, 255 or 65535, is a mask and is taken apart.
* A number whose pieces lie far apart stands for a class, or was used twice, and is taken apart.
* A rim of in-between values (anti-aliasing, JPEG), numbers that enclose all others (borders, a
  numbered background) and a nucleus that covers most of the picture are refused, as are negative
  numbers, fractions and 16-bit colours.

Pieces are 4-connected, like every outline in wsinuc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.label_pieces import Pieces, refuse_borders, refuse_rims, scattered_labels
from wsinuc.errors import DataError
from wsinuc.labels import pixel_counts

MAX_LABEL = 2**24 - 1
"""Largest number that is kept as it is: tables by number are as long as the largest, so that sparse
32-bit ones would fill the memory."""
MASK_NUMBERS = (1, 255, 65535)
"""Numbers that, where they stand alone, are what programs write for "inside"."""
MAX_COVER = 0.5
"""Share of a picture that one nucleus may cover."""
COVER_SIDE_PX = 128
"""Smaller pictures may show one nucleus and little else."""
EMPTY = "hold nothing but 0: no nucleus is annotated"
GREY = "hold the same value in all colour channels: read as one channel"
COLOURS = "hold colours: each connected piece of one colour counts as one nucleus, black as background"
PALETTE = "hold a palette: the index of a colour is taken for the number of a nucleus"
SPARSE = f"hold numbers above {MAX_LABEL}: numbered anew"
SCATTERED = (
    "hold numbers that stand for several pieces far apart (classes, or numbers used twice): each piece counts as one "
    "nucleus; touching nuclei of one number count as one"
)
BLACK_AND_WHITE = (
    "hold grey levels between black and white: what is at least half as bright as the brightest pixel counts as nucleus"
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Instances:
    """A label picture that was understood."""

    labels: NDArray[np.int32]
    """(h, w) 0 is background, one number per nucleus, at most `MAX_LABEL`."""
    numbers: NDArray[np.int64]
    """(labels.max() + 1,) the file's own number of each label, by which tables beside it know the nucleus."""
    notes: tuple[str, ...] = ()
    """What was done, each to be read after "3 of 40 label images"."""


def instances_of(values: NDArray[Any], source: Path, *, glands: bool = False) -> Instances:
    """One number per nucleus from a label picture of any kind, by the rules of this module.

    Parameters
    ----------
    values
        (h, w) numbers of any type, or (h, w, channels) colours.
    source
        The file, for errors.
    glands
        What is annotated may cover most of a picture.

    Raises
    ------
    DataError
        The picture is no label picture: fractions, negative numbers, blended values, borders, an inverted mask.
    """
    notes: tuple[str, ...] = ()
    if values.ndim == 3:
        values, notes = _without_colour(values, source)
    instances = _numbered(values, source)
    notes += instances.notes
    if not instances.labels.any():
        return replace(instances, notes=(EMPTY,))
    pieces = Pieces.of(instances.labels)
    refuse_borders(pieces, instances.numbers, source)
    refuse_rims(pieces, source)
    apart, note = _what_to_take_apart(pieces, instances.numbers, coloured=COLOURS in notes)
    instances = replace(instances, notes=notes + note)
    if apart.any():
        instances = _separate(instances, pieces, apart)
    if not glands:
        check_cover(instances.labels, source)
    return instances


def mask_note(number: int) -> str:
    """The note on a mask whose nuclear pixels have this number."""
    return f"hold 0 and {number} only: taken apart into connected components; touching nuclei count as one"


def whole_numbers(values: NDArray[Any], source: Path) -> NDArray[Any]:
    """The values ``(h, w)`` themselves, if they are whole numbers from 0.

    Files of MATLAB and of NumPy keep ids as floating-point numbers; those are ids as long as they are whole.

    Parameters
    ----------
    source
        The file, for messages.

    Raises
    ------
    DataError
        The values are not two-dimensional, no numbers, negative or fractions.
    """
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise DataError(f"{source}: labels must be (h, w) numbers, got {values.shape} of type {values.dtype}")
    if not values.size:
        return values
    low = values.min()
    high = values.max()
    # Written so that a NaN, which compares to nothing, is refused too.
    if not (low >= 0 and float(high) < 2.0**63):
        raise DataError(f"{source}: ids must be whole numbers from 0, got {low} to {high}; number the nuclei from 1")
    if values.dtype.kind == "f" and not np.array_equal(values, np.floor(values)):
        raise DataError(f"{source}: labels must be whole numbers, one per nucleus, got fractions (a probability map?)")
    return values


def label_ids(values: NDArray[Any], source: Path) -> NDArray[np.int32]:
    """Numbers ``(h, w)`` as int32; nothing is taken apart.

    Parameters
    ----------
    source
        The file, for messages.

    Raises
    ------
    DataError
        A value is no whole number from 0 to `MAX_LABEL`.
    """
    numbers = whole_numbers(values, source)
    if numbers.size and numbers.max() > MAX_LABEL:
        raise DataError(f"{source}: ids must lie between 0 and {MAX_LABEL}, got {numbers.max()}; number them from 1")
    return numbers.astype(np.int32)


def check_cover(labels: NDArray[np.int32], source: Path) -> None:
    """Raise DataError where one label covers most of a picture that has room for many."""
    if not labels.size or min(labels.shape) < COVER_SIDE_PX:
        return
    share = pixel_counts(labels)[1:].max(initial=0) / labels.size
    if share > MAX_COVER:
        raise DataError(
            f"{source}: one nucleus covers {share:.0%} of the picture: the mask is inverted, or the background has a "
            "number of its own; background must be 0"
        )


def count_notes(notes: Iterable[tuple[str, ...]], files: str = "label images") -> tuple[str, ...]:
    """One line for each kind of note among the ``files`` of a set, in the order of their first appearance.

    Examples
    --------
    >>> count_notes([(EMPTY,), (), ()])
    ('1 of 3 label images holds nothing but 0: no nucleus is annotated',)
    """
    pictures = list(notes)
    counts = Counter(note for each in pictures for note in each)
    lines = []
    for note, count in counts.items():
        if count > 1:
            text = note
        else:
            text = note.replace("hold ", "holds ", 1)
        lines.append(f"{count} of {len(pictures)} {files} {text}")
    return tuple(lines)


def _numbered(values: NDArray[Any], source: Path) -> Instances:
    """The picture's numbers as labels; numbers that are too large for tables are numbered anew."""
    numbers = whole_numbers(values, source)
    high = int(numbers.max(initial=0))
    if high <= MAX_LABEL:
        return Instances(labels=numbers.astype(np.int32), numbers=np.arange(high + 1))
    large, dense = np.unique(numbers.astype(np.int64), return_inverse=True)
    # Without a background every number is a nucleus, and 0 must stay free.
    if large[0] != 0:
        large = np.concatenate([[0], large])
        dense = dense + 1
    labels = dense.reshape(numbers.shape).astype(np.int32)
    return Instances(labels=labels, numbers=large, notes=(SPARSE,))


def _without_colour(values: NDArray[Any], source: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """One number per pixel of a picture (h, w, channels), and the note on it; transparent pixels are background."""
    channels = values.shape[2]
    if channels not in (1, 2, 3, 4):
        raise DataError(f"{source}: labels must have one channel, or be a picture, got {channels} channels")
    colours = values
    if channels in (2, 4):
        colours = _opaque(values, source)
    first = colours[..., 0]
    if (colours == first[..., None]).all():
        return first, (GREY,) if channels > 1 else ()
    if values.dtype != np.uint8:
        raise DataError(
            f"{source}: labels must be one channel of whole numbers, got colours of type {values.dtype}; "
            "save one number "
            "per nucleus as a 16-bit or 32-bit image"
        )
    # One number for each colour, and black is 0.
    red, green, blue = np.moveaxis(colours.astype(np.int32), 2, 0)
    numbers = (red << 16) | (green << 8) | blue
    if (numbers == 0).mean() < 0.01:
        raise DataError(
            f"{source}: labels must be one channel of whole numbers (one per nucleus) or colours on black, "
            "got a picture "
            "without black background; an overlay or a photograph is no label image"
        )
    return numbers, (COLOURS,)


def _opaque(values: NDArray[Any], source: Path) -> NDArray[Any]:
    """The colours of a picture whose last channel is alpha, transparent pixels black; raises DataError."""
    colours = values[..., :-1]
    alpha = values[..., -1]
    if alpha.min() == alpha.max():  # it says nothing, even if it is 0 throughout
        return colours
    most = alpha.max()
    if ((alpha > 0) & (alpha < most)).any():
        raise DataError(f"{source}: labels must not be half transparent: an overlay or a soft mask is no label image")
    return np.where(alpha[..., None] > 0, colours, 0)


def _what_to_take_apart(
    pieces: Pieces, numbers: NDArray[np.int64], *, coloured: bool
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which labels ``(most + 1,)`` are to be taken apart, and the note on it."""
    kinds = np.unique(pieces.owner[1:])
    number = int(numbers[kinds[0]])
    if coloured:
        return np.ones(len(numbers), np.bool_), ()
    if len(kinds) == 1 and number in MASK_NUMBERS and len(pieces.sizes) > 2:
        return np.ones(len(numbers), np.bool_), (mask_note(number),)
    scattered = scattered_labels(pieces)
    return scattered, (SCATTERED,) if scattered.any() else ()


def _separate(instances: Instances, pieces: Pieces, which: NDArray[np.bool_]) -> Instances:
    """The picture with every piece of these labels as a label of its own, numbered from 1."""
    first = int(instances.labels.max())
    split = np.where(which[instances.labels] & (instances.labels > 0), first + pieces.at, instances.labels)
    values, dense = np.unique(split, return_inverse=True)
    if values[0] != 0:
        values = np.concatenate([[0], values])
        dense = dense + 1
    # Numbers of the file stay with the pieces, since tables beside it know nuclei by them.
    origin = np.where(values > first, pieces.owner[np.maximum(values - first, 0)], np.minimum(values, first))
    labels = dense.reshape(instances.labels.shape).astype(np.int32)
    return replace(instances, labels=labels, numbers=instances.numbers[origin])
