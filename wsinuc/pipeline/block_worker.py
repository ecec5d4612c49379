"""A `BlockWorker` makes the blocks of one slide: it has the slide open, knows which parts of it are wanted, and holds
the fitted segmenter and the result's store.

Threads share the caller's `BlockWorker`. A worker process sets up one of its own from a ``SlideSpec``, which
is plain data, and keeps the last few; the model itself is loaded once per process. Setting up
checks that this process sees the same slide, tissue, model and output as the client, so that a
worker that sees others reports it instead of computing something else.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.errors import ClusterError, SlideError
from wsinuc.grid import Block
from wsinuc.models.freed_memory import give_back_holes
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measured_names import OF_BLOCKS
from wsinuc.pipeline.block import BlockResult, process_block
from wsinuc.pipeline.calibrate import fitted
from wsinuc.pipeline.scored import MOST_BYTES, MOST_PIXEL_BYTES, ScoredTile, ScoredTiles
from wsinuc.pipeline.selection import TissueSelection, select
from wsinuc.pipeline.stain_fit import stain_vectors
from wsinuc.recent import Recent
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.identity.fingerprint import fingerprint
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.slides.view import SlideView
from wsinuc.store import Entry, ResultStore, settings_hash
from wsinuc.store.ledger import read_sealed
from wsinuc.store.pieces import map_path, write_class_map
from wsinuc.urls import Place

MODELS = 2
"""Models that a process keeps. One run has one; several runs that share workers may have others."""
WORKERS = 4
"""Slides that a process keeps open: that many may be under way at once without being opened again and again."""

# Blocks of one process take turns at the network, whichever slide they are of: a device has room for one batch.
_network = threading.Lock()

Value = TypeVar("Value")


class SegmenterSource(Protocol):
    """Makes a segmenter in whatever process it is called; hashable, and equal for equal segmenters."""

    def __call__(self) -> Segmenter:
        """The segmenter, loaded or as it was given."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class GivenSegmenter:
    """A source for a segmenter that has no file: it travels with the task, so it must be small, and pickle."""

    identity: str
    segmenter: Segmenter = field(compare=False, repr=False)

    def __call__(self) -> Segmenter:
        """The segmenter."""
        return self.segmenter


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSpec:
    """Everything that a process must know to make blocks of a slide; paths are absolute."""

    slide: Place
    reader: str
    fingerprint: str
    config: SegmentConfig
    source: SegmenterSource
    directory: Path
    """Folder of the result."""
    run_id: str
    """Hash of the run's settings, which lie in ``directory``."""
    identity: str
    """Identity of the segmenter on the workers."""
    tissue: str
    """Hash of the tissue mask, see ``TissueSelection.tissue_hash``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What the result depends on and only a worker knows."""

    wsinuc: str
    segmenter: str
    device: str
    batch_size: int


class BlockWorker:
    """A slide that is open for work; safe to share between threads."""

    def __init__(
        self,
        view: SlideView,
        selection: TissueSelection,
        segmenter: Segmenter,
        store: ResultStore,
        config: SegmentConfig,
    ) -> None:
        self.view = view
        self.selection = selection
        self.segmenter = segmenter
        self.store = store
        self.config = config
        self._fitted: Segmenter | None = None
        self._groups: PixelGroups | None = None
        # All slides of this process share one memory of tiles, so that its size does not grow with their number.
        self._scored = ScoredTiles(_tiles, _pixels)
        self._lock = threading.Lock()
        path = view.slide.path
        self._fingerprint = None
        if path is not None:
            self._fingerprint = fingerprint(path)

    def fit(self) -> Segmenter:
        """The segmenter fitted to this slide: by the statistics in the store, or else now, and then they lie there."""
        # Blocks of several threads ask for it at once; one of them fits, the others wait.
        with self._lock:
            if self._fitted is None:
                path = self.store.work / "calibration"
                with _network:
                    self._fitted = fitted(self.view, self.segmenter, self.selection.tissue, path)
            return self._fitted

    def groups(self) -> PixelGroups:
        """What is measured of this slide's nuclei in its blocks, with fitted stain vectors from the store."""
        with self._lock:
            if self._groups is None:
                groups = tuple(group for group in self.config.groups if group in OF_BLOCKS)
                stains = None
                if PixelGroups(groups).need_pixels:
                    stains = stain_vectors(
                        self.config.stains, self.view, self.selection.tissue, self.store.work / "stains"
                    )
                self._groups = PixelGroups(groups, stains)
            return self._groups

    def segment(self, block: Block, batch_size: int | None) -> Entry:
        """Find the nuclei of a block, store those it owns, and return the ledger's entry.

        Raises
        ------
        SlideError
            The slide has been changed or removed since it was opened: what cannot be decoded now is
            not the slide's fault.
        """
        segmenter = self.fit()
        result = process_block(
            self.view,
            block,
            segmenter,
            batch_size=batch_size or segmenter.batch_size,
            tissue=self.selection,
            gate=_network,
            scored=self._scored,
            groups=self.groups(),
            semantic=self.config.semantic,
        )
        # Looking at the file costs time, and what was decoded was there.
        if result.unreadable:
            self._check_slide()
        nuclei = self.selection.wanted_of(result.nuclei)
        entry = self.store.add(self._with_pixels(_entry(block, result, len(nuclei)), block, result), nuclei)
        give_back_holes()
        return entry

    def _with_pixels(self, entry: Entry, block: Block, result: BlockResult) -> Entry:
        """The entry with the hash of the classes of pixels, which are stored, where they are asked for."""
        if result.pixels is None:
            return entry
        pixels = self.selection.wanted_pixels(result.pixels, block.core, self.view.downsample)
        return replace(entry, semantic_sha256=write_class_map(pixels, map_path(self.store.work, block.index)))

    def _check_slide(self) -> None:
        path = self.view.slide.path
        try:
            same = path is None or fingerprint(path) == self._fingerprint
        except OSError:
            same = False
        if not same:
            raise SlideError(
                f"{path} was changed or removed while it was read: put it back and run the same command again, "
                "it goes on where it stopped"
            )


@dataclass(frozen=True, slots=True)
class BlockTask:
    """Makes one block in whatever process it is called."""

    spec: SlideSpec

    def __call__(self, block: Block) -> Entry:
        """The ledger's entry; see ``BlockWorker.segment``. Raises ClusterError when the folder has
        gone to another run."""
        worker = block_worker(self.spec)
        # A task may outlive its client, and the folder belong to another run by then.
        check_output(worker.store, self.spec.run_id)
        return worker.segment(block, self.spec.config.batch_size)

    def __str__(self) -> str:
        return self.spec.slide.name


@dataclass(frozen=True, slots=True)
class FitTask:
    """Fits the segmenter and the stain vectors to the slide, before the blocks begin; its item is ignored."""

    spec: SlideSpec

    def __call__(self, item: object) -> None:
        """See ``BlockWorker.fit`` and ``BlockWorker.groups``."""
        worker = block_worker(self.spec)
        worker.fit()
        worker.groups()


@dataclass(frozen=True, slots=True)
class DescribeTask:
    """Loads the model on a worker and says what it is there; its item is ignored."""

    source: SegmenterSource

    def __call__(self, item: object) -> WorkerFacts:
        """Version, identity, device and batch size."""
        segmenter = _models.get(self.source, self.source)
        return WorkerFacts(
            wsinuc=wsinuc.__version__,
            segmenter=segmenter.identity,
            device=str(getattr(segmenter, "device", "cpu")).split(":")[0],
            batch_size=segmenter.batch_size,
        )


@dataclass(frozen=True, slots=True)
class CheckTask:
    """Sets up the block worker and leaves a token in the result's folder, so that the client sees that
    it is the same one."""

    spec: SlideSpec

    def __call__(self) -> str:
        """Name of the token in the folder of shards; raises whatever is wrong with slide, model or folder."""
        worker = block_worker(self.spec)
        check_output(worker.store, self.spec.run_id)
        token = f"seen-{uuid.uuid4().hex}"
        (worker.store.work / "blocks" / token).touch()
        return token


def block_worker(spec: SlideSpec) -> BlockWorker:
    """This process' worker for a slide, set up if need be.

    Raises
    ------
    SlideError
        The slide is not there, or is another one.
    CheckpointError
        The model is not there, or is another one.
    ClusterError
        The segmenter or the tissue is not what it is for the client.
    """
    return _workers.get(spec, lambda: _set_up(spec))


def check_output(store: ResultStore, run_id: str) -> None:
    """Raise ClusterError unless the result's folder holds the run of that name."""
    settings = read_sealed(store.work / "settings.json")
    if not settings:
        raise ClusterError(
            f"{store.directory} cannot be seen or holds no run: every worker needs the output at the same path"
        )
    if settings_hash(settings) != run_id:
        raise ClusterError(f"{store.directory} has been taken over by a run with other settings")


def _set_up(spec: SlideSpec) -> BlockWorker:
    slide = open_isolated(spec.slide, reader=spec.reader, mpp=spec.config.mpp)
    # The same path may be another file on another machine, or a copy that is still being made.
    if fingerprint(spec.slide) != spec.fingerprint:
        raise SlideError(f"{spec.slide} is another file here than it is for the client, or has changed since")
    segmenter = _models.get(spec.source, spec.source)
    if segmenter.identity != spec.identity:
        raise ClusterError(
            "the segmenter here differs from that of the other workers in device, precision, threads or "
            "version of wsinuc: results would depend on the worker; use workers of one kind, or --device cpu"
        )
    view = slide.at(segmenter.mpp)
    selection = select(view, spec.config, reach=segmenter.min_halo)
    if selection.tissue_hash != spec.tissue:
        raise ClusterError(
            f"the tissue found in {spec.slide} differs from the client's: are the versions of the packages equal?"
        )
    return BlockWorker(view, selection, segmenter, ResultStore(spec.directory), spec.config)


def _entry(block: Block, result: BlockResult, nuclei: int) -> Entry:
    return Entry(
        block=block.index,
        nuclei=nuclei,
        shard_sha256=None,
        unreadable=result.unreadable,
        tiles=result.tiles,
        at_edge=result.at_edge,
        seconds=result.seconds,
    )


class _MadeOnce(Generic[Value]):
    """The last few values by key, each made once: who needs the same one meanwhile waits."""

    def __init__(self, size: int) -> None:
        self._values: LRUCache[Hashable, Value] = LRUCache(size)
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        # The lock is held while a value is made: two models that are loaded at once need twice the memory.
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]


_models = _MadeOnce[Segmenter](MODELS)
_workers = _MadeOnce[BlockWorker](WORKERS)
_tiles = Recent[ScoredTile](MOST_BYTES)
_pixels = Recent[NDArray[np.uint8]](MOST_PIXEL_BYTES)
