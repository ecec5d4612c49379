"""Splits of a data set into parts, as files that others can read, and the choice of a few patches to label.

A split is a list of places (image, box) per part and nothing else; it is made once, saved, and used
by every method that is compared. Both ways of making one are deterministic: the same data set,
numbers and seed give the same split anywhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Conditions, Dataset, LabelledImage
from wsinuc.datasets.shares import share_out
from wsinuc.errors import ConfigError, DataError
from wsinuc.exports.atomic import replacing
from wsinuc.grid import Box
from wsinuc.limits import read_json
from wsinuc.shown import shown
from wsinuc.typed_json import from_json
from wsinuc.urls import PathLike, to_path

FORMAT = "wsinuc-split"
VERSION = 1
GROUPS = ("tissue", "organ", "patient", "source")
"""Attributes over which few patches are spread; the first that the images have, and that differs among them."""
DENSITIES = 4
"""Patches are told apart by how many nuclei they hold, in so many equal shares."""

ALL = "all"
"""The part that may hold what others hold."""

Place = tuple[str, Box | None]
"""Name of an image, and the part of it that is meant; None is all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A place as JSON has it."""

    image: str
    box: tuple[int, int, int, int] | None = None
    """y0, x0, y1, x1."""

    @property
    def place(self) -> Place:
        """The place; raises ValueError for a box that is none."""
        return self.image, None if self.box is None else Box(*self.box)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A split as JSON has it, beside format and version."""

    dataset: str
    seed: int
    parts: dict[str, tuple[_Entry, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Named parts of a data set, none of which shares a pixel with another one; only `ALL` holds what others hold.

    Examples
    --------
    >>> Split(parts={"train": (("a", None), ("b", None)), "test": (("b", None),)}, dataset="folder", seed=0)
    Traceback (most recent call last):
    wsinuc.errors.DataError: the parts train and test share 1 place (b), and who learns from one would be measured \
on what is known: leave it out of one of them (only a part called all holds what others hold)
    """

    parts: Mapping[str, tuple[Place, ...]]
    dataset: str
    """Layout of the data set that was split."""
    seed: int

    def __post_init__(self) -> None:
        _check_apart(self.parts)

    def of(self, dataset: Dataset, part: str) -> Dataset:
        """One part of a data set.

        Raises
        ------
        DataError
            There is no such part, or the data set lacks an image that it names.
        """
        if part not in self.parts:
            raise DataError(f"the split has no part {part!r}; it has {', '.join(self.parts)}: name one of these")
        return dataset.patches(self.parts[part])

    def save(self, path: PathLike) -> None:
        """Write JSON with one line per image or patch.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        head = {"format": FORMAT, "version": VERSION, "dataset": self.dataset, "seed": self.seed}
        lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        parts = [
            f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {json.dumps(_to_json(p))}" for p in places) + "\n  ]"
            for name, places in self.parts.items()
        ]
        text = "\n".join(["{", *lines, ' "parts": {', ",\n".join(parts), " }", "}", ""])
        with replacing(to_path(path)) as file:
            file.write(text.encode())

    @classmethod
    def load(cls, path: PathLike) -> Split:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            The file is missing, of another version, damaged, or no split.
        """
        try:
            content = read_json(to_path(path))
        except FileNotFoundError:
            raise DataError(f"{path} is missing; make a split with wsinuc data split") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"{path} is no split: expected JSON with format {FORMAT!r}, as wsinuc data split writes it")
        if content.get("version") != VERSION:
            raise DataError(
                f"{path} is of version {content.get('version')}, this wsinuc reads version {VERSION}; update it"
            )
        stored = from_json(_Stored, content, error=DataError, subject=f"{path} is a damaged split")
        try:
            parts = {name: tuple(entry.place for entry in entries) for name, entries in stored.parts.items()}
        except ValueError as error:  # a box whose end lies before its beginning
            raise DataError(f"{path} is a damaged split ({error})") from error
        try:
            return cls(parts=parts, dataset=stored.dataset, seed=stored.seed)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _check_apart(parts: Mapping[str, tuple[Place, ...]]) -> None:
    """Raise DataError for a place that a part names twice, and for parts that share pixels."""
    placed: dict[str, list[tuple[str, Box | None]]] = {}
    shared: dict[tuple[str, str], list[Place]] = {}
    for part, places in parts.items():
        twice = [place for place, times in Counter(places).items() if times > 1]
        if twice:
            raise DataError(f"part {shown(part)} names {_shown(twice[0])} twice: each place counts once, leave one out")
        if part == ALL:
            continue
        for place in places:
            name, box = place
            for other in dict.fromkeys(own for own, known in placed.get(name, ()) if _share(box, known)):
                shared.setdefault((other, part), []).append(place)
        for name, box in places:
            placed.setdefault(name, []).append((part, box))
    for (one, other), common in shared.items():
        some = ", ".join(map(_shown, common[:3])) + (", ..." if len(common) > 3 else "")
        what, them = ("place", "it") if len(common) == 1 else ("places", "them")
        raise DataError(
            f"the parts {shown(one)} and {shown(other)} share {len(common)} {what} ({some}), and who learns from one "
            f"would be measured on what is known: leave {them} out of one of them (only a part called {ALL} holds what "
            "others hold)"
        )


def _share(one: Box | None, other: Box | None) -> bool:
    """Whether two parts of one image have a pixel in common."""
    return one is None or other is None or one.overlaps(other)


def _shown(place: Place) -> str:
    name, box = place
    return shown(name) if box is None else f"{shown(name)} at y {box.y0}, x {box.x0}"


def few_patches(dataset: Dataset, count: int, *, size_px: int = 256, seed: int) -> Split:
    """A few patches that stand for the whole data set, as part ``train``: what one would label with little time.

    Candidates are patches of ``size_px`` on a grid spread over each image, without overlap; smaller
    images are taken whole, patches without a nucleus never. They are chosen one by one, each time
    the one whose traits are furthest behind their share: its tissue, organ or patient (`GROUPS`),
    its image, its share of density (`DENSITIES`), its classes. Until every class is there, patches
    with the rarest missing one come first. The sequence does not depend on ``count``: with one
    seed, the first 4 of 8 patches are the 4.

    Raises
    ------
    ConfigError
        ``count`` or ``size_px`` is not positive.
    DataError
        There are fewer patches with nuclei than that, or an image is damaged.
    """
    if count < 1 or size_px < 1:
        raise ConfigError(f"count and size_px must be at least 1, got {count} and {size_px}")
    places: list[Place] = []
    counts: list[NDArray[np.int64]] = []
    images: list[int] = []
    for index, image in enumerate(dataset):
        for box in _grid(image.labels.shape, size_px):
            nuclei = _count(image, box, len(dataset.classes))
            if nuclei.sum():
                places.append(place_of(dataset, index, box, image))
                counts.append(nuclei)
                images.append(index)
    if len(places) < count:
        raise DataError(
            f"{dataset.path} has {len(places)} patches of {size_px} px with nuclei, {count} are wanted; "
            "ask for fewer, or for smaller ones"
        )
    chosen = _choose(_traits(dataset, images, np.stack(counts)), np.stack(counts)[:, 1:] > 0, count, seed)
    return Split(parts={"train": tuple(places[i] for i in chosen)}, dataset=dataset.layout.name, seed=seed)


def split_images(
    dataset: Dataset,
    fractions: Mapping[str, float],
    *,
    stratify: str | None = None,
    seed: int,
    group: str | None = None,
) -> Split:
    """Whole images in parts of about the given sizes.

    Parameters
    ----------
    fractions
        Part -> its share of the images; what is missing to 1 is left out.
    stratify
        Attribute whose values should be spread over the parts like over the whole set.
    group
        Attribute whose images stay together: ``patient``, so that no patient is trained and tested on. Images without a
        value stand alone.

    Raises
    ------
    ConfigError
        The fractions are no shares of a whole.
    DataError
        An attribute is unknown, or a part would be empty.
    """
    assigned = share_out(dataset.rows, fractions, stratify=stratify, group=group, seed=seed, source=str(dataset.path))
    parts = {name: tuple((dataset.names[i], dataset.boxes[i]) for i in indices) for name, indices in assigned.items()}
    return Split(parts=parts, dataset=dataset.layout.name, seed=seed)


def torn_apart(split: Split, dataset: Dataset) -> str | None:
    """What to say where patients, or else slides, lie in several parts; None where none does, or none is known.

    Of a single patient, or slide, nothing is said: there is nothing else to test on.
    """
    for wanted in ("patient", "slide"):
        attribute = next((name for name in dataset.rows[0] if name.casefold() == wanted), None)
        if attribute is None:
            continue
        value_of = {row["name"]: row[attribute] for row in dataset.rows}
        if len({value for value in value_of.values() if value}) < 2:
            continue
        parts = Counter(
            value
            for part, places in split.parts.items()
            if part != ALL
            for value in {value_of[name] for name, _ in places}
            if value
        )
        torn = sum(count > 1 for count in parts.values())
        if not torn:
            return None
        return (
            f"{torn} of {len(parts)} {wanted}s lie in several parts, so that no part says how another {wanted} would "
            f"do: --group {attribute} keeps them together"
        )
    return None


def _grid(shape: tuple[int, ...], size: int) -> list[Box]:
    """Boxes of a side that do not overlap, spread from edge to edge."""
    starts = []
    for side in shape:
        fitting = max(1, side // size)
        starts.append(np.linspace(0, max(0, side - size), fitting).astype(int).tolist())
    return [Box(y, x, min(y + size, shape[0]), min(x + size, shape[1])) for y in starts[0] for x in starts[1]]


def _count(image: LabelledImage, box: Box, classes: int) -> NDArray[np.int64]:
    """(classes + 1,) nuclei of each class inside a box; the first are those of no known class."""
    marked = np.zeros(0, np.int32)
    if image.points is not None:
        inside = ((image.points >= (box.y0, box.x0)) & (image.points < (box.y1, box.x1))).all(axis=1)
        marked = np.zeros(int(inside.sum()), np.int32) if image.point_classes is None else image.point_classes[inside]
    # Numbers that are there at all: labels of a part of an image have gaps.
    ids = 1 + np.flatnonzero(np.bincount(image.labels[box.slices].ravel(), minlength=1)[1:])
    if image.classes is None:
        kinds = np.zeros(len(ids), np.int32)
    else:
        kinds = image.classes[ids]
    return np.bincount(np.concatenate([kinds, marked]), minlength=classes + 1)


def place_of(dataset: Dataset, index: int, box: Box, image: LabelledImage) -> Place:
    """A box of what the data set gives as image ``index``, as a place in the file behind it."""
    outer = dataset.boxes[index]
    name = dataset.rows[index]["name"]
    if box.shape == image.labels.shape:
        return name, outer
    return name, box if outer is None else box.shift(outer.y0, outer.x0)


def _traits(dataset: Dataset, images: Sequence[int], counts: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Traits that each candidate has one value of, as numbers from 0: its image, its share of density, its group."""
    # The second argsort turns an order into ranks; shares of ranks are equal where densities are not.
    ranks = counts.sum(axis=1).argsort(kind="stable").argsort(kind="stable")
    kinds: list[Sequence[str] | Sequence[int]] = [images, (ranks * DENSITIES // len(ranks)).tolist()]
    varied = (a for a in GROUPS if len({row.get(a, "") for row in dataset.rows}) > 1)
    attribute = next(varied, None)
    if attribute:
        kinds.append([dataset.rows[i][attribute] for i in images])
    return [np.unique(np.asarray(kind), return_inverse=True)[1] for kind in kinds]


def _choose(traits: Sequence[NDArray[np.intp]], classes: NDArray[np.bool_], count: int, seed: int) -> list[int]:
    """Indices of candidates, chosen greedily: next is the one whose traits and classes lag most behind their shares."""
    total = len(classes)
    shares = [*(np.bincount(values) / total for values in traits), classes.mean(axis=0)]
    # How often each value of each trait, and each class (last), is among the chosen.
    counts = [np.zeros(len(share)) for share in shares]
    missing = classes.sum(axis=0) > 0
    rarity = np.argsort(classes.sum(axis=0), kind="stable")
    # Decides among those that are needed about equally.
    chance = np.random.default_rng(seed).random(total) / 4
    chosen: list[int] = []
    for step in range(1, count + 1):
        behind = [share * step - have for share, have in zip(shares, counts, strict=True)]
        score = chance + classes @ behind[-1]
        for values, lacking in zip(traits, behind, strict=False):
            score += lacking[values]
        if missing.any():
            rarest = next(c for c in rarity if missing[c])
            # More than all other terms of the score can weigh together.
            score[classes[:, rarest]] += 2 * step * (len(traits) + len(rarity))
        score[chosen] = -np.inf
        best = int(score.argmax())
        chosen.append(best)
        for values, have in zip(traits, counts, strict=False):
            have[values[best]] += 1
        counts[-1] += classes[best]
        missing &= ~classes[best]
    return chosen


def _to_json(place: Place) -> dict[str, object]:
    name, box = place
    if box is None:
        return {"image": name}
    return {"image": name, "box": [box.y0, box.x0, box.y1, box.x1]}


def parted(dataset: Dataset, conditions: Conditions) -> tuple[Dataset, Dataset]:
    """The images that meet all conditions, and all others.

    Raises
    ------
    DataError
        What `Dataset.where` raises, or no other image is left.
    """
    meeting = dataset.where(conditions)
    others = [i for i, row in enumerate(dataset.rows) if any(row[each] not in conditions[each] for each in conditions)]
    if not others:
        raise DataError(f"all {len(dataset)} images of {dataset.path} meet the conditions: no other image is left")
    rows = tuple(dataset.rows[i] for i in others)
    return meeting, replace(dataset, rows=rows, boxes=tuple(dataset.boxes[i] for i in others))
