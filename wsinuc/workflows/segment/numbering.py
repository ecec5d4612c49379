"""From shards to numbered parts: ids in the order of the blocks, and what is known only when all nuclei are.

Neighbours and cells depend on nuclei of several blocks. They are made of the stored table alone, so they are the same
whatever the blocks were and whoever made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from wsinuc.config import SegmentConfig
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei, empty
from wsinuc.nuclei.cells import Cytoplasm, cells_around, with_cells
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measured_names import CELLS, CYTOPLASM, OF_BLOCKS, neighbour_columns
from wsinuc.nuclei.stains import StainVectors
from wsinuc.segmenters.base import ByMeasurement
from wsinuc.slides.view import read_resilient
from wsinuc.store import ResultStore
from wsinuc.workflows.segment.plan import Prepared

if TYPE_CHECKING:
    from wsinuc.nuclei.neighbours import Neighbourhood

SHARDS = 32
"""Tables of blocks that are kept, for the cells of the blocks around them."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """The nuclei of a run, block by block."""

    store: ResultStore
    prepared: Prepared
    config: SegmentConfig
    owners: Mapping[int, int]
    """Number of nuclei of each block that owns any, in the order of the blocks."""
    stains: StainVectors | None
    """What stains are measured with; None where they are not."""

    def parts(self) -> Iterator[tuple[int, Nuclei]]:
        """Blocks and their numbered nuclei with all measurements; one without nuclei where there are none at all."""
        around = None
        if "neighbours" in self.config.groups:
            around = self._neighbourhood()
        shards: LRUCache[int, Nuclei] = LRUCache(SHARDS)
        start = 0
        # In the order of the blocks, not of their completion: ids are then the same in every run.
        for index, count in self.owners.items():
            nuclei = self._shard(index, shards)
            if around is not None:
                columns = around.columns(start, start + count)
                nuclei = replace(nuclei, measurements=nuclei.measurements | columns)
            if self._namer is not None:
                nuclei = self._namer.with_classes(nuclei)
            if self.config.cells is not None:
                nuclei = self._with_cells(index, nuclei, self.config.cells, shards)
            yield index, nuclei.with_ids(start + 1)
            start += count
        if not self.owners:
            yield 0, self._nothing()

    @property
    def _namer(self) -> ByMeasurement | None:
        """The segmenter, where it tells nuclei apart by all that is measured of them."""
        segmenter = self.prepared.segmenter
        if isinstance(segmenter, ByMeasurement):
            return segmenter
        return None

    def _shard(self, index: int, shards: LRUCache[int, Nuclei]) -> Nuclei:
        if index not in shards:
            shards[index] = self.store.read(index)
        return shards[index]

    def _with_cells(self, index: int, nuclei: Nuclei, reach_um: float, shards: LRUCache[int, Nuclei]) -> Nuclei:
        """The nuclei of a block with their cells, which those of other blocks hold back."""
        near = cells_around(nuclei, reach_um)
        # No nucleus reaches farther from its block's core than the halo.
        grid = self.prepared.grid
        blocks = grid.overlapping(near.grow(grid.halo))
        others = [
            self._shard(block.index, shards) for block in blocks if block.index != index and block.index in self.owners
        ]
        others = [other.select(other.sharing(near)) for other in others]
        return with_cells(nuclei, others, reach_um, grid.shape, self._cytoplasm())

    def _cytoplasm(self) -> Cytoplasm | None:
        """How the stains of cells are measured; None where the group is not asked for."""
        if self.stains is None or "stain" not in self.config.groups:
            return None
        return Cytoplasm(self.stains, self._read)

    def _read(self, box: Box) -> NDArray[np.uint8]:
        """Pixels as the blocks have seen them."""
        pixels, _ = read_resilient(self.prepared.view, box)
        return self.prepared.selection.without_padding(pixels, box)

    def _neighbourhood(self) -> Neighbourhood:
        """Where all nuclei are and of which class, in the order of their ids."""
        # SciPy's trees take a while to import, and most runs do without.
        from wsinuc.nuclei.neighbours import Neighbourhood

        centroids = [np.zeros((0, 2))]
        classes = [np.zeros(0, np.uint8)]
        for index in self.owners:
            nuclei = self.store.read(index)
            centroids.append(nuclei.centroids)
            classes.append(nuclei.classes)
        names = [item.name for item in self.prepared.segmenter.classes]
        mpp = self.prepared.view.mpp
        around = Neighbourhood(np.concatenate(centroids), np.concatenate(classes), names, mpp)
        if self._namer is None:
            return around
        starts = accumulate(self.owners.values(), initial=0)
        named = [
            self._named(self._namer, index, start, around) for index, start in zip(self.owners, starts, strict=False)
        ]
        return Neighbourhood(around.centroids, np.concatenate([*classes[:1], *named]), names, mpp)

    def _named(self, namer: ByMeasurement, index: int, start: int, around: Neighbourhood) -> NDArray[np.uint8]:
        """Classes of a block's nuclei, which may depend on how many others are near, but not on their classes.

        ``start`` is the number of nuclei of the blocks before it.
        """
        nuclei = self.store.read(index)
        columns = around.columns(start, start + len(nuclei))
        return namer.with_classes(replace(nuclei, measurements=nuclei.measurements | columns)).classes

    def _nothing(self) -> Nuclei:
        """A table without nuclei, with the columns of one that has some."""
        classes = self.prepared.segmenter.classes
        names = tuple(item.name for item in classes)
        colors = tuple(item.color for item in classes)
        frame = self.prepared.view.frame
        columns = PixelGroups(tuple(group for group in self.config.groups if group in OF_BLOCKS)).columns
        if "neighbours" in self.config.groups:
            columns += neighbour_columns(names)
        if self.config.cells is None:
            return empty(frame, names, colors, columns)
        columns += tuple(each.name for each in CELLS)
        if self._cytoplasm() is not None:
            columns += tuple(each.name for each in CYTOPLASM)
        return with_cells(empty(frame, names, colors, columns), [], self.config.cells, self.prepared.grid.shape)
