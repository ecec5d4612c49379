"""The folder that a synthesis writes: a data set like any other, which says of every sample how it was made.

It has the layout of `wsinuc.datasets.layouts.folder`, so that training, evaluation and ``wsinuc
data info`` take it as it is::

    images/NAME.png     RGB
    labels/NAME.png     16 bit, one number per nucleus
    classes.csv         names and colours, where nuclei have classes
    classes/NAME.csv    the class of each nucleus
    manifest.csv        one line per sample: seed, prompt, checkpoints, sampler ...
    synthesis.json      the settings that all samples share
    contact_sheet.png   some of them with their labels, on one page

A sample is done when its line stands in the manifest; its files are whole by then. So an interrupted synthesis goes on
where it stopped, and the same folder can be asked for more samples, but never for samples of other settings. A folder
without a sample, of a synthesis that failed at once, takes any settings.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc import durable, own_files
from wsinuc.datasets import open_dataset
from wsinuc.datasets.files import read_table
from wsinuc.errors import OutputError, SynthesisError
from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.contact_sheet import write_contact_sheet
from wsinuc.nuclei.classes import NucleusClass, hex_color
from wsinuc.own_files import PARTIAL
from wsinuc.store.files import as_json, disk_errors, read_json
from wsinuc.store.lock import locked
from wsinuc.store.owned import make_area

FORMAT = "wsinuc-synthetic"
VERSION = 1
FOLDERS = ("images", "labels", "classes")
"""Of the samples."""
WORK = ".synthesis"
"""Folder of the lock."""
SETTINGS = "synthesis.json"
MANIFEST = "manifest.csv"
SHEET = "contact_sheet.png"
COLUMNS = (
    "name",
    "mpp",
    "tissue",
    "seed",
    "index",
    "method",
    "prompt",
    "source",
    "checkpoints",
    "sampler",
    "steps",
    "guidance",
)
_SHARED = ("mpp", "seed", "method", "sampler", "steps", "guidance")
_SHOWN = 16  # samples on the contact sheet
_MOST_NUCLEI = 2**16 - 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SyntheticSample:
    """One labelled image that was made."""

    index: int
    """Number of the sample, from 0."""
    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    labels: NDArray[np.int32]
    """(h, w) 0 is background, one number per nucleus."""
    classes: NDArray[np.int32] | None = None
    """(labels.max() + 1,) class of each label, counted from 1; None where nuclei have none."""
    tissue: str = ""
    prompt: str = ""
    source: str = ""
    """Where its nuclei come from: ``generated``, ``random``, a file, an image of a data set."""


class SyntheticSet:
    """A folder of samples that are written one by one; made by `writing`, which holds its lock."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], classes: Sequence[NucleusClass], done: frozenset[int]
    ) -> None:
        self.folder = folder
        self._settings = dict(settings)
        self._classes = tuple(classes)
        self._done = set(done)

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the samples that are there."""
        return frozenset(self._done)

    def add(self, sample: SyntheticSample) -> None:
        """Write one sample, its line in the manifest last.

        Raises
        ------
        OutputError
            The disk is full or the folder not writable.
        SynthesisError
            More nuclei than a 16-bit label image can number.
        """
        # PNG holds 16 bits at most, and a label that wraps would merge nuclei.
        if sample.labels.max(initial=0) > _MOST_NUCLEI:
            raise SynthesisError(f"sample {sample.index} has more than {_MOST_NUCLEI} nuclei: make smaller images")
        name = f"{self._settings['method']}-{sample.index:06d}"
        with disk_errors(self.folder):
            _write_png(sample.image, self.folder / "images" / f"{name}.png")
            _write_png(sample.labels.astype(np.uint16), self.folder / "labels" / f"{name}.png")
            if self._classes:
                _write_classes(sample, self._classes, self.folder / "classes" / f"{name}.csv")
            # The line comes last: a sample counts as made once it is in the manifest.
            self._append(self._line(name, sample))
        self._done.add(sample.index)

    def draw_sheet(self) -> None:
        """Draw the contact sheet of samples spread over the set; raises OutputError."""
        dataset = open_dataset(self.folder, layout="folder")
        chosen = np.unique(np.linspace(0, len(dataset) - 1, _SHOWN).astype(int)).tolist()
        write_contact_sheet([dataset[i] for i in chosen], dataset.classes, self.folder / SHEET)

    def _line(self, name: str, sample: SyntheticSample) -> dict[str, Any]:
        shas = " ".join(self._settings["checkpoints"].values())
        shared = {column: self._settings[column] for column in _SHARED}
        # A line break within a field would make a torn line look whole.
        texts = {column: " ".join(getattr(sample, column).split()) for column in ("tissue", "prompt", "source")}
        return shared | texts | {"name": name, "index": sample.index, "checkpoints": shas}

    def _append(self, line: Mapping[str, Any]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, lineterminator="\n").writerow(line)
        with own_files.append(self.folder / MANIFEST) as file:
            file.write(text.getvalue().encode())
            file.flush()
            # Past a power cut, too: a line without its files, or files without a line, cost a sample.
            os.fsync(file.fileno())


@contextmanager
def writing(folder: Path, settings: Mapping[str, Any], classes: Sequence[NucleusClass]) -> Iterator[SyntheticSet]:
    """The set in ``folder``, begun or continued, locked for this process.

    Parameters
    ----------
    settings
        All that decides how a sample looks, JSON types: ``method``, ``mpp``, ``seed``, ``sampler``,
        ``steps``, ``guidance``, ``checkpoints`` (role -> sha256) and whatever else. They must be
        those of the samples that are there.

    Raises
    ------
    OutputError
        The folder holds something else or samples of other settings, is being written by another process, or cannot be
        written.
    """
    # Before anything is created in a folder that may be somebody else's.
    samples_in(folder, settings, classes)
    work = folder / WORK
    with disk_errors(folder):
        make_area(work)
    with locked(work / "lock"):
        with disk_errors(folder):
            done = _prepare(folder, _identity(settings, classes), classes)
        yield SyntheticSet(folder, settings, classes, done)


def samples_in(folder: Path, settings: Mapping[str, Any], classes: Sequence[NucleusClass]) -> frozenset[int]:
    """Numbers of the samples that are there already, nothing written.

    Raises
    ------
    OutputError
        The folder holds something else, or samples of other settings; it says which differ.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, a folder for the samples is needed: choose another place with -o")
    if folder.is_dir():
        content = [p.name for p in folder.iterdir() if p.name != WORK]
    else:
        content = []
    if not content:
        return frozenset()
    if read_json(folder / SETTINGS).get("format") != FORMAT:
        raise OutputError(f"{folder} holds {content[0]} and no synthesis of wsinuc: choose an empty folder with -o")
    _is_of(folder, _identity(settings, classes))
    return frozenset(int(row["index"]) for row in _whole_lines(folder / MANIFEST))


def _is_of(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a synthesis of wsinuc has these settings; raises OutputError where samples of others are there."""
    there = read_json(folder / SETTINGS)
    differing = [key for key in {**there, **wanted} if there.get(key) != wanted.get(key)]
    begun = bool(_whole_lines(folder / MANIFEST)) or any(any((folder / name).glob("*")) for name in FOLDERS)
    if differing and begun:
        shown = "; ".join(f"{key}: {there.get(key)} there, {wanted.get(key)} asked for" for key in differing)
        raise OutputError(f"{folder} holds samples of other settings ({shown}): choose another folder with -o")
    return not differing


def _identity(settings: Mapping[str, Any], classes: Sequence[NucleusClass]) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, **settings, "classes": [c.name for c in classes]}


def _prepare(folder: Path, identity: Mapping[str, Any], classes: Sequence[NucleusClass]) -> frozenset[int]:
    """Folders, settings and the manifest's header where they are missing; the samples that are there."""
    begun = (folder / SETTINGS).exists()
    if begun and not _is_of(folder, identity):
        # Before the settings: classes of others must not outlive them.
        (folder / "classes.csv").unlink(missing_ok=True)
        begun = False
    if not begun:
        # First of all and from the working area: a folder that holds anything else and no settings is another's.
        with durable.replacing(folder / SETTINGS, folder / WORK / f"{SETTINGS}{PARTIAL}") as file:
            file.write(as_json(identity))
    for name in FOLDERS if classes else FOLDERS[:2]:
        own_files.check_folder(folder / name)
        (folder / name).mkdir(exist_ok=True)
    if classes and not (folder / "classes.csv").exists():
        rows = [(each.name, hex_color(each.color)) for each in classes]
        _write_text(_table(("name", "color"), rows), folder / "classes.csv")
    manifest = folder / MANIFEST
    text = manifest.read_bytes() if manifest.exists() else b""
    # A process was killed while it wrote: the sample of a torn line is made again.
    if not text.endswith(b"\n"):
        whole = text[: text.rfind(b"\n") + 1].decode() or ",".join(COLUMNS) + "\n"
        _write_text(whole, manifest)
    return frozenset(int(row["index"]) for row in _whole_lines(manifest))


def _whole_lines(manifest: Path) -> list[Mapping[str, str]]:
    text = manifest.read_bytes() if manifest.exists() else b""
    if b"\n" not in text:
        return []
    rows = list(read_table(manifest, ("name", "index")))
    if text.endswith(b"\n"):
        return rows
    # The last line is torn: its process was killed while it wrote.
    return rows[:-1]


def _write_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> None:
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")


def _write_classes(sample: SyntheticSample, classes: Sequence[NucleusClass], path: Path) -> None:
    present = np.unique(sample.labels[sample.labels > 0]).tolist()
    if sample.classes is None:
        kinds = np.zeros(sample.labels.max(initial=0) + 1, np.int32)
    else:
        kinds = sample.classes
    known = [(label, classes[kinds[label] - 1].name) for label in present if kinds[label]]
    _write_text(_table(("label", "class"), known), path)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV file; what stands in a cell is quoted, for a class may have commas and quotation marks in its name."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(header)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()


def _write_text(text: str, path: Path) -> None:
    with replacing(path) as file:
        file.write(text.encode())
