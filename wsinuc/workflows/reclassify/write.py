"""A result with other classes: table, image of classes, GeoJSON, preview, report and summary, whole or not at all.

Everything is made in a folder beside the new result, which takes its name when it is complete; the result that had it
until then goes at that moment. What classes do not change keeps its bytes: label image of ids, the slide's copy,
outlines, ids and UUIDs.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache
from numpy.typing import NDArray

import wsinuc
from wsinuc import aside, durable
from wsinuc.errors import DamageError
from wsinuc.exports.ome_zarr.metadata import CLASS_IMAGE
from wsinuc.exports.qupath.geojson import default_geojson_name, write_geojson
from wsinuc.models.features.measured_classifier import ClassEstimate
from wsinuc.nuclei import Nuclei, read_nuclei
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.measured_names import NEIGHBOURS
from wsinuc.nuclei.parquet import PARQUET
from wsinuc.nuclei.reclassified import NewClasses, with_classes
from wsinuc.store import disk_errors, provenance
from wsinuc.store.files import write_json
from wsinuc.store.manifest import read_made, with_manifest
from wsinuc.store.outputs import OUTPUTS, SUMMARY, part_block, part_name
from wsinuc.store.parts import iter_named_tables
from wsinuc.store.upload import Digest, digest
from wsinuc.urls import Place
from wsinuc.workflows.reclassify.around import ClassNeighbours
from wsinuc.workflows.reclassify.class_image import write_class_image
from wsinuc.workflows.reclassify.learn import Learned
from wsinuc.workflows.reclassify.pictures import NoPicturesError, PictureJob, write_pictures
from wsinuc.workflows.reclassify.place import check_out, made_aside
from wsinuc.workflows.reclassify.tables import ResultTable

LABELS = "labels.ome.zarr"
_CLASS_IMAGE = f"{LABELS}/labels/{CLASS_IMAGE}/"
NOTE = "classes were learned from"
"""How the note of a summary about its classes begins."""
_NEAR = 32
"""Parts that are kept in memory for the fields of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteConfig:
    """How a result is written."""

    overwrite: bool = False
    """Replace what has the name."""
    report: bool = True
    """Write ``report.html``, where the slide is at hand."""
    slide: str | Place | None = None
    """The slide, when it has moved since."""
    workers: int = 2
    """Threads that encode GeoJSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """A result that was written."""

    folder: Path
    counts: dict[str, int]
    """Nuclei per class."""
    notes: tuple[str, ...]
    """What is missing, and why."""


def write_classified(
    table: ResultTable,
    learned: Learned,
    out: Path,
    config: WriteConfig | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Classified:
    """Write a result with the classes of a classifier.

    Parameters
    ----------
    table
        The result that has been segmented.
    out
        Folder of the new result; that of ``table`` itself to replace it.
    about
        Where the classes come from, for ``summary.json``: JSON values.
    tell
        Is called again and again with what is written at the moment. What it raises ends the writing, and nothing is
        left of it.

    Raises
    ------
    OutputError
        Something lies at ``out`` that may not be replaced, a run is at work there, or it cannot be written.
    DamageError
        A file of the result is not what was written.
    """
    config = config or WriteConfig()
    check_out(table, out, overwrite=config.overwrite)
    with disk_errors(out), made_aside(out) as folder:
        job = _Job(table, learned, out, folder, config, dict(about or {}), tell or _tell_nobody)
        classified = job.execute()
        durable.sync_tree(folder)
        aside.take_place(folder, out)
    return Classified(folder=out, counts=classified.counts, notes=classified.notes)


@dataclass
class _Job:
    """One result that is being written."""

    table: ResultTable
    learned: Learned
    out: Path
    """Where the result will be."""
    folder: Path
    """Where it is made."""
    config: WriteConfig
    about: dict[str, Any]
    tell: Callable[[str], None]
    """Hears what is written at the moment."""
    counts: Counter[int] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks: list[int] = []
        self.recent: LRUCache[int, Nuclei] = LRUCache(_NEAR)
        self.class_of = np.zeros(self.table.nuclei + 1, np.uint8)

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """The new ones."""
        return self.learned.classes

    def execute(self) -> Classified:
        """All files."""
        self._write_table()
        counts = {each.name: self.counts[k] for k, each in enumerate(self.classes)}
        self.tell("label images")
        copied = self._copy_labels()
        write_class_image(self.folder / LABELS, self.class_of, self.classes, self.table.summary["settings"]["mpp"])
        self._write_geojson()
        self.tell("preview and report")
        summary = self._summary(counts)
        self._write_pictures(summary)
        names = sorted(path.name for path in self.folder.iterdir() if path.name in OUTPUTS)
        summary |= {"outputs": names, "notes": [*summary["notes"], *self.notes]}
        files = {**digests_below(self.folder, copied), **copied}
        write_json(with_manifest(summary, dict(sorted(files.items()))), self.folder / SUMMARY)
        return Classified(folder=self.folder, counts=counts, notes=tuple(self.notes))

    def _write_table(self) -> None:
        """The parts of the table, in the order and with the names that they have."""
        (self.folder / "nuclei").mkdir()
        around = None
        if NEIGHBOURS[-1].name in self.table.measurements:
            around = ClassNeighbours.of(self.table, self.learned)
        start = 0
        for name, part in iter_named_tables(self.table.folder):
            self.tell(f"classes of {self.table.nuclei:,} nuclei ({start / max(1, self.table.nuclei):.0%})")
            estimate = self.learned.classify(part)
            neighbours: Mapping[str, NDArray[np.float32]] = {}
            if around is not None:
                neighbours = around.columns(start, start + part.num_rows)
            new = NewClasses(
                classes=self.classes,
                indices=estimate.indices,
                probabilities=estimate.probabilities,
                neighbours=neighbours,
            )
            path = self.folder / name
            pq.write_table(with_classes(part, new), path, **PARQUET)
            self._note(name, part, estimate)
            start += part.num_rows

    def _note(self, name: str, part: pa.Table, estimate: ClassEstimate) -> None:
        block = part_block(name)
        assert block is not None, name
        self.blocks.append(block)
        self.counts.update(estimate.indices.tolist())
        self.class_of[part["id"].to_numpy()] = estimate.indices + 1

    def _copy_labels(self) -> dict[str, Digest]:
        """Copy the label images but that of classes; returns what was copied, which must be what was written.

        Raises
        ------
        DamageError
            A file is not what the result's summary lists.
        """
        listed = read_made(self.table.folder).files
        copied: dict[str, Digest] = {}
        for name in self._label_files(listed):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.table.folder / name, path)
            # What describes the images is written anew.
            if path.name == "zarr.json":
                continue
            copied[name] = digest(path)
            if listed and listed[name] != copied[name]:
                raise DamageError(
                    f"{self.table.folder / name} is not the file that was written: wsinuc verify lists what is wrong"
                )
        return copied

    def _label_files(self, listed: Mapping[str, Digest]) -> list[str]:
        """Files of the label images but that of classes; what others have laid there is none."""
        names = list(listed)
        if not listed:
            paths = sorted((self.table.folder / LABELS).rglob("*"))
            names = [path.relative_to(self.table.folder).as_posix() for path in paths if path.is_file()]
        return [name for name in names if name.startswith(f"{LABELS}/") and not name.startswith(_CLASS_IMAGE)]

    def _write_geojson(self) -> None:
        run = provenance(self.table.folder)
        write_geojson(
            self._told_parts("outlines for QuPath"),
            self.folder / default_geojson_name(self.table.nuclei),
            origin_yx=self.table.origin_xy[::-1],
            run_id=run.run_id,
            workers=self.config.workers,
            outlines=self.table.summary["config"].get("outlines", "smooth"),
        )

    def _told_parts(self, stage: str) -> Iterator[Nuclei]:
        for _, nuclei in self._parts():
            self.tell(stage)
            yield nuclei

    def _parts(self) -> Iterator[tuple[int, Nuclei]]:
        for block in self.blocks:
            yield block, read_nuclei(self.folder / part_name(block))

    def _part(self, block: int) -> Nuclei | None:
        if block not in self.blocks:
            return None
        if block not in self.recent:
            self.recent[block] = read_nuclei(self.folder / part_name(block))
        return self.recent[block]

    def _summary(self, counts: dict[str, int]) -> dict[str, Any]:
        old = self.table.summary
        notes = [note for note in old["notes"] if not note.startswith(NOTE)]
        return {
            **old,
            "out": str(self.out),
            "counts": counts,
            "notes": [self._line(), *notes],
            "classified": {"wsinuc": wsinuc.__version__, **self.about},
            "original_counts": old.get("original_counts", old["counts"]),
        }

    def _line(self) -> str:
        """How the classes came about, in a sentence."""
        text = f"{NOTE} {len(self.learned.labelled):,} labelled nuclei"
        held_out = self.learned.held_out
        if held_out is not None:
            text += f"; on {held_out.apart} held out their balanced accuracy is {held_out.scores.balanced_accuracy:.2f}"
        return text

    def _write_pictures(self, summary: Mapping[str, Any]) -> None:
        job = PictureJob(
            summary=summary, classes=self.classes, parts=self._parts, part=self._part, note=str(summary["notes"][0])
        )
        has_report = self.config.report and (self.table.folder / "report.html").exists()
        try:
            write_pictures(job, self.config.slide, self.folder, report=has_report)
        except NoPicturesError as error:
            self.notes.append(str(error))


def _tell_nobody(text: str) -> None:
    """For who does not want to know."""


def digests_below(folder: Path, known: Mapping[str, Digest]) -> dict[str, Digest]:
    """Digests of the files of a result that are not known yet."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: digest(path) for name, path in paths.items() if name not in known and name != SUMMARY}
