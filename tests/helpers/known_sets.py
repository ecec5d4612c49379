"""Fields of the oracle's plane as data sets whose right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from helpers.oracle import MPP, OracleSegmenter, plane, scores_of
from wsinuc.datasets.base import Annotation, Layout, Row
from wsinuc.metrics.detection import Points
from wsinuc.nuclei.classes import NucleusClass

SHAPE = (150, 210)


def known(origin: tuple[int, int], zoom: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A field of the oracle's plane and its labels, each pixel repeated ``zoom`` times."""
    pixels = plane(SHAPE, origin)
    labels = OracleSegmenter().separate(scores_of(pixels))
    return pixels.repeat(zoom, 0).repeat(zoom, 1), labels.repeat(zoom, 0).repeat(zoom, 1)


def write_known_dataset(folder: Path, spoil: str | None = None) -> Path:
    """Fields a, b, c; the annotation of ``spoil`` is shifted by three pixels, so that no prediction is right."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "manifest.csv").write_text("name,patient\na,01\nb,02\nc,02\n")
    for name, origin in zip("abc", ((0, 0), (300, 50), (77, 501)), strict=True):
        pixels, labels = known(origin)
        labels = np.roll(labels, 3, axis=1) if name == spoil else labels
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / "labels" / f"{name}.png")
    return folder


ORIGINS = {"a": (0, 0), "b": (300, 50)}


NAMES = ("round", "long")


def known_classes(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A field of the oracle's plane, its labels, and the class of each (1 round, 2 long)."""
    pixels = plane((110, 130), ORIGINS[name])
    labels = OracleSegmenter().separate(scores_of(pixels))
    second = np.bincount(labels.ravel(), (pixels[..., 2] < 255).ravel()) > np.bincount(labels.ravel()) / 2
    return pixels, labels, np.where(np.arange(labels.max() + 1) > 0, 1 + second, 0).astype(np.int32)


class Marked(Layout):
    """The same fields, nuclei marked with points; the last of each is not marked."""

    name, kind, mpp = "marked", "points", MPP
    classes = tuple(NucleusClass(name, (0, 0, 0)) for name in NAMES)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False

    def scan(self) -> tuple[Row, ...]:
        return tuple({"name": name} for name in ORIGINS)

    def read(self, row: Row) -> Annotation:
        pixels, labels, classes = known_classes(row["name"])
        points = Points.of_labels(labels, classes)
        return Annotation(
            image=pixels,
            labels=np.zeros_like(labels),
            points=points.places[:-1] + 1.0,
            point_classes=points.classes[:-1].astype(np.int32),
        )
