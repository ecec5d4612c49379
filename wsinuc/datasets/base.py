"""What every annotated data set looks like from outside, however its authors laid it out on disk.

A `Layout` knows the files of one published data set and nothing else: `scan` lists the images
without reading them, `read` reads one. `Dataset` adds what all share: choosing by attribute,
cutting out patches, the resolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, overload

from wsinuc import arguments
from wsinuc.config import MPP_RANGE
from wsinuc.datasets.conditions import Conditions, Wanted, conditions_of, parse_conditions
from wsinuc.datasets.labelled_image import Annotation, LabelledImage, Row, cut
from wsinuc.datasets.shares import share_out
from wsinuc.errors import DataError, MppError
from wsinuc.grid import Box
from wsinuc.nuclei.classes import NucleusClass

__all__ = [
    "UNLABELLED",
    "Annotation",
    "Conditions",
    "Cutting",
    "Dataset",
    "LabelledImage",
    "Layout",
    "Row",
    "contents",
    "cut",
    "parse_conditions",
    "resolution_of",
]

UNLABELLED = "unlabelled"
"""Kind of the sets that hold pixels alone."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """Where an image was cut from."""

    slide: Path
    box: Box
    """In level-0 pixels, the first of which is (0, 0)."""
    shape: tuple[int, int]
    """(h, w) of the slide in such pixels."""


class Layout(ABC):
    """How one published data set lies on disk, bound to one folder."""

    name: ClassVar[str]
    """What users call it: ``pannuke``."""
    expected: ClassVar[str]
    """The files that make the layout, in one line, for errors and for help."""
    mpp: float | None = None
    """um per pixel as published; None where the authors do not say, or where it differs from image to image."""
    classes: tuple[NucleusClass, ...] = ()
    """What a nucleus can be; empty where nuclei are not classified."""
    open_classes: bool = False
    """Whether ``classes`` are those that occur in the annotation: a model may then know others, too."""
    annotated: str = "label images"
    """What the notes on its images are about."""
    unknown_mpp: ClassVar[str] = ""
    """What an error on an unknown resolution adds; begins with a semicolon."""
    kind: str = "instances"
    """``instances`` (nuclei outlined), ``points`` (nuclei marked), ``glands``, or `UNLABELLED`."""
    notes: tuple[str, ...] = ()
    """What was done to make images and labels of the files, of all images together; see also `Annotation.notes`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a folder looks like this layout, judged by names of files alone."""

    @abstractmethod
    def scan(self) -> tuple[Row, ...]:
        """All images in a fixed order, without reading pixels.

        Raises
        ------
        DataError
            The folder is not laid out as expected; the message says what was expected and what is there.
        """

    @abstractmethod
    def read(self, row: Row) -> Annotation:
        """One image with its annotation.

        Raises
        ------
        DataError
            A file is missing or damaged, or labels have another size than their image.
        """

    def cutting(self, row: Row) -> Cutting | None:
        """The part of a slide that an image is; None for an image with a file of its own."""
        return None

    def unlabelled(self) -> str:
        """Why this set, of the kind `UNLABELLED`, teaches and measures nothing."""
        return (
            f"{self.path} holds images without annotation, which pretrain and distill take; "
            "to learn from or to measure with, it needs labels/NAME.png or points/NAME.csv"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Dataset(Sequence[LabelledImage]):
    """Annotated images, or patches of them, in a fixed order; each is read when it is asked for.

    Examples
    --------
    >>> import wsinuc
    >>> drawn = "examples/data/CMU-1-Small-Region.nuclei.geojson"
    >>> windows = wsinuc.open_dataset("examples/data/CMU-1-Small-Region.svs", annotations=drawn)
    >>> windows
    <wsinuc.Dataset CMU-1-Small-Region.svs (qupath): 4 images; Epithelium, Stroma>
    >>> isinstance(windows, wsinuc.Dataset), windows[0].image.shape, int(windows[0].labels.max())
    (True, (128, 128, 3), 38)
    >>> [row["region"] for row in windows.where({"region": ["upper left", "upper right"]}).rows]
    ['upper left', 'upper right']
    >>> {part: len(images) for part, images in windows.split({"train": 0.75, "test": 0.25}).items()}
    {'train': 3, 'test': 1}
    """

    layout: Layout
    rows: tuple[Row, ...]
    mpp: float | None
    """um per pixel that the user gives for all images; None takes the image's own or the layout's."""
    boxes: tuple[Box | None, ...]
    """Which part of each image; None is all of it."""
    otherwise: float | None = None
    """um per pixel of images whose resolution neither the user nor the data set says."""

    @classmethod
    def open(cls, layout: Layout, *, mpp: float | None = None, otherwise: float | None = None) -> Dataset:
        """All images of a layout.

        Parameters
        ----------
        mpp
            um per pixel that the user gives for all images.
        otherwise
            um per pixel of images whose resolution nothing else tells.

        Raises
        ------
        DataError
            There is no image, or two have one name.
        MppError
            A resolution is unknown or absurd.
        """
        rows = layout.scan()
        if not rows:
            raise DataError(f"{layout.path}: {layout.name} has {layout.expected}; found {contents(layout.path)}")
        # Splits and results know images by their names.
        names = Counter(row["name"] for row in rows)
        if names.total() > len(names):
            twice = names.most_common(1)[0][0]
            raise DataError(f"{layout.path} holds two images called {twice!r}; is the data set there twice?")
        # Before any image is read: an unknown resolution should not show after an hour.
        for row in rows:
            resolution_of(row, mpp, layout, otherwise)
        return cls(layout=layout, rows=rows, mpp=mpp, boxes=(None,) * len(rows), otherwise=otherwise)

    @property
    def path(self) -> Path:
        """Folder or file of the data set."""
        return self.layout.path

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """What a nucleus can be; empty where nuclei are not classified."""
        return self.layout.classes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, in order; patches of one image repeat it."""
        return tuple(row["name"] for row in self.rows)

    def resolution(self, row: Row) -> float:
        """um per pixel of one of the images."""
        return resolution_of(row, self.mpp, self.layout, self.otherwise)

    def __repr__(self) -> str:
        classes = ", ".join(each.name for each in self.classes) or "no classes"
        plural = "" if len(self) == 1 else "s"
        return f"<wsinuc.Dataset {self.path.name} ({self.layout.name}): {len(self)} image{plural}; {classes}>"

    def where(self, wanted: Wanted = {}, unwanted: Wanted = {}) -> Dataset:  # noqa: B006 (read only)
        """Only the images that have one of the wanted values of every attribute, and none of the unwanted.

        Parameters
        ----------
        wanted, unwanted
            Attribute of the images -> a value, or several: ``{"patient": ["09", "10"]}``. Attributes are the keys of
            ``rows``, and their values are texts.

        Raises
        ------
        DataError
            An attribute is unknown, a value is nobody's, or no image is left.
        """
        wanted = conditions_of(wanted)
        unwanted = conditions_of(unwanted)
        for attribute, values in [*wanted.items(), *unwanted.items()]:
            self._check_condition(attribute, values)
        indices = [
            i
            for i, row in enumerate(self.rows)
            if all(row[attribute] in values for attribute, values in wanted.items())
            and not any(row[attribute] in values for attribute, values in unwanted.items())
        ]
        if not indices:
            raise DataError(f"none of the {len(self)} images of {self.path} meets all conditions together")
        return self._at(indices)

    def patches(self, places: Sequence[tuple[str, Box | None]]) -> Dataset:
        """Images, or parts of them, in the given order.

        Parameters
        ----------
        places
            Name of an image, and the part of it that is meant; None is all of it.

        Raises
        ------
        DataError
            There is no image of that name.
        """
        # Names are unique, which `open` has checked.
        position = {row["name"]: i for i, row in enumerate(self.rows)}
        for name, _ in places:
            if name not in position:
                raise DataError(f"{self.path} has no image called {name!r}: the list was made for another data set")
        chosen = self._at([position[name] for name, _ in places])
        return replace(chosen, boxes=tuple(box for _, box in places))

    def split(
        self, shares: Mapping[str, float], *, stratify: str | None = None, group: str | None = None, seed: int = 0
    ) -> dict[str, Dataset]:
        """Whole images in parts of about the given sizes, as ``wsinuc data split`` makes them.

        Parameters
        ----------
        shares
            Name of a part -> its share of the images; what is missing to 1 is left out.
        stratify
            Attribute whose values are spread over the parts as over the whole set.
        group
            Attribute whose images stay together: ``patient``, so that no patient is trained and tested on.
        seed
            Decides which images go where.

        Returns
        -------
        dict of str to Dataset
            The parts, in the order of ``shares``.

        Raises
        ------
        ConfigError
            The shares are none of a whole.
        DataError
            An attribute is unknown, or a part would be empty.
        """
        parts = share_out(self.rows, shares, stratify=stratify, group=group, seed=seed, source=str(self.path))
        return {part: self._at(indices) for part, indices in parts.items()}

    def _at(self, indices: Sequence[int]) -> Dataset:
        return replace(self, rows=tuple(self.rows[i] for i in indices), boxes=tuple(self.boxes[i] for i in indices))

    def _check_condition(self, attribute: str, values: frozenset[str]) -> None:
        if attribute not in self.rows[0]:
            raise DataError(f"the images of {self.path} have no {attribute!r}; they have {', '.join(self.rows[0])}")
        known = {row[attribute] for row in self.rows}
        if not values <= known:
            shown = ", ".join(map(arguments.quoted, sorted(known)[:20]))
            unknown = ",".join(map(arguments.quoted, sorted(values - known)))
            raise DataError(f"no image has {attribute}={unknown}; the values are: {shown}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | Dataset:
        """The image at ``index``, read now, or a part of the data set; raises DataError for damaged files."""
        if isinstance(index, slice):
            return self._at(range(len(self))[index])
        row = self.rows[index]
        box = self.boxes[index]
        image = self._checked(row, self.layout.read(row))
        if box is None:
            return image
        return cut(image, box)

    def _checked(self, row: Row, annotation: Annotation) -> LabelledImage:
        """What a layout has read, if its parts fit together; raises DataError."""
        labels = annotation.labels
        classes = annotation.classes
        if annotation.image.shape[:2] != labels.shape:
            raise DataError(
                f"{row['name']}: the image is {annotation.image.shape[:2]} (h, w) but its labels are {labels.shape}"
            )
        if classes is not None and classes.max(initial=0) > len(self.classes):
            raise DataError(
                f"{row['name']}: class {classes.max()} is annotated, but {self.layout.name} has only "
                f"{len(self.classes)}: {', '.join(c.name for c in self.classes)}"
            )
        return LabelledImage(
            name=row["name"],
            image=annotation.image,
            labels=labels,
            attributes=row,
            mpp=self.resolution(row),
            classes=classes,
            points=annotation.points,
            point_classes=annotation.point_classes,
            ignore=annotation.ignore,
            notes=annotation.notes,
        )


def contents(path: Path) -> str:
    """The first names in a folder, for errors that say what was found."""
    return ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"


def resolution_of(row: Row, given: float | None, layout: Layout, otherwise: float | None = None) -> float:
    """um per pixel of an image: the user's word, else the image's own, else what was published, never a guess.

    Parameters
    ----------
    given
        What the user says of all images.
    otherwise
        What the user says of images whose resolution nothing else tells.

    Raises
    ------
    MppError
        Nothing tells it, or it is no microscope's.
    """
    try:
        if given is None:
            # Where nothing tells it, float("") raises ValueError, as text that is no number does.
            mpp = float(row.get("mpp") or layout.mpp or otherwise or "")
        else:
            mpp = arguments.number("mpp", given, MppError)
    except MppError:
        raise
    except ValueError:
        raise MppError(
            f"the resolution of {row['name']} is not recorded (attribute mpp); give it with --mpp, "
            f"0.25 is usual for 40x, 0.5 for 20x{layout.unknown_mpp}"
        ) from None
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise MppError(f"mpp of {row['name']} must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]}, got {mpp:g}")
    return mpp
