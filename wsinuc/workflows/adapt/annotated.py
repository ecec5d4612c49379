"""Where annotation lies, so that tissue on which a model should stay as it is keeps off it.

There the model would be taught against what is annotated, and a window that is held out would be learned as the model
saw it before. All that a data set has annotated counts, also what a split has kept back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil
from pathlib import Path

from wsinuc.datasets.base import Cutting, Dataset
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.grid import Box


class Annotated:
    """The images of data sets, by the places of their files.

    Parameters
    ----------
    datasets
        What is learned from, or parts of it.
    """

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self._names: dict[Path, set[str]] = {}
        self._cuttings: dict[Path, list[Cutting]] = {}
        for dataset in datasets:
            for row in dataset.layout.scan():
                self._names.setdefault(dataset.path.resolve(), set()).add(row["name"])
                cutting = dataset.layout.cutting(row)
                if cutting is not None:
                    self._cuttings.setdefault(cutting.slide.resolve(), []).append(cutting)

    def others(self, dataset: Dataset) -> Dataset:
        """The images of a data set that are none of the annotated ones."""
        kept = [number for number, row in enumerate(dataset.rows) if not self._is_one(dataset.path, row["name"])]
        rows = tuple(dataset.rows[number] for number in kept)
        return replace(dataset, rows=rows, boxes=tuple(dataset.boxes[number] for number in kept))

    def is_whole(self, source: Pixels) -> bool:
        """Whether pixels are those of a file that is an annotated image."""
        file = _file(source)
        return file is not None and file not in self._cuttings and self._is_one(file, file.stem)

    def _is_one(self, place: Path, name: str) -> bool:
        """Whether what is called so, and lies there, is an annotated image."""
        place = place.resolve()
        return any(place.is_relative_to(folder) and name in names for folder, names in self._names.items())

    def boxes(self, source: Pixels) -> tuple[Box, ...]:
        """The annotated parts of a slide, in pixels of ``source``."""
        file = _file(source)
        if file is None:
            return ()
        return tuple(_seen(cutting, source.shape) for cutting in self._cuttings.get(file, ()))


def _file(source: Pixels) -> Path | None:
    file = getattr(source, "file", None)
    return file.resolve() if isinstance(file, Path) else None


def _seen(cutting: Cutting, shape: tuple[int, ...]) -> Box:
    """A part of a slide in the pixels of a view of it, every pixel that it has a share in."""
    down, across = (seen / own for seen, own in zip(shape, cutting.shape, strict=False))
    box = cutting.box
    return Box(int(box.y0 * down), int(box.x0 * across), ceil(box.y1 * down), ceil(box.x1 * across))
