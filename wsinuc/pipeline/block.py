"""One block of a slide: read, score, separate, own, measure. A pure function of slide, block, segmenter and settings.

What a block finds must not depend on where blocks begin. So everything that decides is anchored to the slide: which
tiles the network sees and which are skipped as background, where the scores are cut into pieces for separation, and
who owns a nucleus: whose core holds its centroid, which is the same number wherever it was measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Block, BlockGrid, Box, Tile
from wsinuc.nuclei import Nuclei, concatenate, empty
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measure import measure
from wsinuc.pipeline.scored import ScoredTile, ScoredTiles
from wsinuc.pipeline.search import SearchArea, select_tiles
from wsinuc.segmenters.base import Certain, Classifying, Segmenter
from wsinuc.semantic.classes import pixel_map
from wsinuc.separation.channels import FOREGROUND
from wsinuc.slides.view import WHITE, SlideView, read_resilient

PIECE = 1024
"""Side of the pieces in which scores are separated, in view pixels: small enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """What one block owns, and what it took."""

    nuclei: Nuclei
    """Owned nuclei, ids 1..n in order of their centroids."""
    unreadable: tuple[Box, ...]
    """Undecodable parts of the core, view pixels; they were taken for white."""
    tiles: int
    """Tiles that the network has seen for it; others had been scored for a neighbour."""
    at_edge: int
    """Owned nuclei that reach the edge of what was read: larger than the halo allows for, so perhaps cut."""
    seconds: dict[str, float]
    """Wall time of each stage: read, wait (for the network), network, separate, measure."""
    pixels: NDArray[np.uint8] | None = None
    """What the scores say of each pixel of the core, see `wsinuc.semantic.classes.pixel_map`; None where it was not
    asked for."""


def process_block(
    view: SlideView,
    block: Block,
    segmenter: Segmenter,
    *,
    batch_size: int,
    tissue: SearchArea,
    gate: AbstractContextManager[object],
    scored: ScoredTiles | None = None,
    groups: PixelGroups | None = None,
    semantic: bool = False,
) -> BlockResult:
    """Segment ``block`` and return the nuclei whose centroid lies in its core.

    What cannot be decoded raises nothing: it is taken for white and reported (see ``read_resilient``).

    Parameters
    ----------
    batch_size
        Tiles for each call of the network.
    tissue
        Which tiles are scored, and how their padding looks.
    gate
        Held while the network works on the whole block: blocks take turns there, and while one has the network,
        others read and separate.
    scored
        Tiles that it holds are not scored again, and new ones go there; None keeps none.
    groups
        What is measured beyond what every table holds; None measures no more.
    semantic
        Whether the class of every pixel is kept.
    """
    clock = _Clock()
    groups = groups or PixelGroups()
    scoring = _Scoring(view, block.read, segmenter, tissue, scored or ScoredTiles(), clock)
    if groups.need_pixels:
        scoring.keep_pixels()
    tiles = scoring.run(batch_size, gate)
    nuclei, at_edge = _find_nuclei(block, scoring, groups)
    seconds = dict(clock.seconds)
    # The clock of "wait" runs on while the network works.
    seconds["wait"] -= seconds["network"]
    classes = None
    if semantic:
        classes = pixel_map(segmenter, scoring.scores[:, *block.core.relative_to(block.read).slices])
    return BlockResult(
        nuclei=nuclei,
        unreadable=_clipped(scoring.unreadable, block.core),
        tiles=tiles,
        at_edge=at_edge,
        seconds=seconds,
        pixels=classes,
    )


def score_box(
    view: SlideView,
    box: Box,
    segmenter: Segmenter,
    *,
    batch_size: int,
    tissue: SearchArea,
    scored: ScoredTiles | None = None,
) -> NDArray[np.uint8]:
    """Scores ``(channels, h, w)`` of a box of the view, as a block that reads it gets them; 0 where
    no tile holds tissue. ``scored`` is that of `process_block`."""
    scoring = _Scoring(view, box, segmenter, tissue, scored or ScoredTiles(), _Clock())
    scoring.run(batch_size, nullcontext())
    return scoring.scores


class _Scoring:
    """The scores of one box of a view, tile by tile, and what becomes known of its pixels on the way."""

    def __init__(
        self,
        view: SlideView,
        box: Box,
        segmenter: Segmenter,
        tissue: SearchArea,
        scored: ScoredTiles,
        clock: _Clock,
    ) -> None:
        self.view = view
        self.box = box
        self.segmenter = segmenter
        self.tissue = tissue
        self.scored = scored
        self.clock = clock
        self.extent = Box.of_shape(view.shape)
        # Zeros: what no tile with tissue covers is certainly no nucleus.
        self.scores = np.zeros((segmenter.channels, *box.shape), np.uint8)
        self.unreadable: list[Box] = []
        """Parts of the tiles' cores that could not be decoded."""
        self.pixels: NDArray[np.uint8] | None = None
        """RGB ``(h, w, 3)`` of the box, where they are kept."""

    def keep_pixels(self) -> None:
        """Keep the pixels of all tiles of the box as well."""
        # White: what no tile with tissue covers is glass.
        self.pixels = np.full((*self.box.shape, 3), WHITE, np.uint8)

    def run(self, batch_size: int, gate: AbstractContextManager[object]) -> int:
        """Score all tiles; how many of them the network has seen for it."""
        tiles = select_tiles(self.box, self.segmenter, self.tissue)
        missing = self._missing(tiles)
        if self.pixels is not None:
            with self.clock.stage("read"):
                self._draw_known(self.pixels, [tile for tile in tiles if tile not in missing])
        if not missing:
            return 0
        # One read for all tiles: their margins overlap, and a slide's own tiles would be decoded several times.
        source = _bounding_box([tile.read for tile in missing]).clip(self.extent)
        with self.clock.stage("read"):
            pixels, failed = read_resilient(self.view, source)
            pixels = self.tissue.without_padding(pixels, source)
            if self.pixels is not None:
                self._draw_read(self.pixels, missing, pixels, source)
        with self.clock.stage("wait"), gate, self.clock.stage("network"):
            # While this block waited for the network, another one may have scored its tiles.
            missing = self._missing(missing)
            for slots, batch in _batches(pixels, source, self.extent, missing, batch_size):
                batch_scores = self.segmenter.predict(batch)
                for slot, tile in slots.items():
                    # A copy, so that no tile holds on to its whole batch.
                    result = ScoredTile(batch_scores[slot].copy(), _clipped(failed, tile.core))
                    self._insert(tile, result)
                    self.scored.keep(tile.core, result)
        return len(missing)

    def _missing(self, tiles: list[Tile]) -> list[Tile]:
        """The tiles that nobody has scored; the scores of the others are inserted."""
        missing = []
        for tile in tiles:
            result = self.scored.get(tile.core)
            if result is None:
                missing.append(tile)
            else:
                self._insert(tile, result)
        return missing

    def _insert(self, tile: Tile, result: ScoredTile) -> None:
        """Copy the scores of a tile to where they lie in the box."""
        part = tile.core.clip(self.box)
        self.scores[:, *part.relative_to(self.box).slices] = result.scores[:, *part.relative_to(tile.core).slices]
        self.unreadable.extend(result.unreadable)

    def _draw_known(self, canvas: NDArray[np.uint8], tiles: list[Tile]) -> None:
        """Draw tiles whose scores are known: the pixels that are kept, the others read again."""
        for tile in tiles:
            core = tile.core.clip(self.extent)
            pixels = self.scored.pixels(tile.core)
            if pixels is None:
                pixels = self.tissue.without_padding(read_resilient(self.view, core)[0], core)
                self.scored.keep_pixels(tile.core, pixels)
            _draw(canvas, self.box, core, pixels)

    def _draw_read(self, canvas: NDArray[np.uint8], tiles: list[Tile], pixels: NDArray[np.uint8], source: Box) -> None:
        """Draw tiles out of ``pixels``, which were read of ``source``, and keep theirs for other blocks."""
        for tile in tiles:
            core = tile.core.clip(self.extent)
            # A copy, so that no tile holds on to all that was read.
            own = pixels[core.relative_to(source).slices].copy()
            self.scored.keep_pixels(tile.core, own)
            _draw(canvas, self.box, core, own)


def _draw(canvas: NDArray[np.uint8], box: Box, core: Box, pixels: NDArray[np.uint8]) -> None:
    """Copy what ``core`` and ``box`` share."""
    part = core.clip(box)
    canvas[part.relative_to(box).slices] = pixels[part.relative_to(core).slices]


def _clipped(boxes: Iterable[Box], to: Box) -> tuple[Box, ...]:
    """What of these boxes lies in another."""
    return tuple(box.clip(to) for box in boxes if box.overlaps(to))


def _batches(
    pixels: NDArray[np.uint8], source: Box, extent: Box, tiles: list[Tile], batch_size: int
) -> Iterator[tuple[dict[int, Tile], NDArray[np.uint8]]]:
    """Tiles by their slot, and their pixels, ``batch_size`` at a time.

    Every batch has the same shape, free slots are white: the last bits of a convolution depend on
    the shape of its batch and perhaps on the slot, but not on what else is in it.
    """
    for slots in in_slots(tiles, batch_size):
        batch = np.full((batch_size, *tiles[0].read.shape, 3), 255, np.uint8)
        for slot, tile in slots.items():
            inside = tile.read.clip(extent)
            batch[slot] = mirrored(pixels[inside.relative_to(source).slices], inside, tile.read)
        yield slots, batch


def in_slots(tiles: list[Tile], batch_size: int) -> list[dict[int, Tile]]:
    """Tiles as batches, each tile in a slot that its place on the slide decides, whichever block asks for it.

    Slots change by one from column to column and by two from row to row: any 4 x 4 tiles, and any
    two columns of four, fill batches of 2, 4 or 8.
    """
    batches: list[dict[int, Tile]] = []
    for tile in tiles:
        height, width = tile.core.shape
        # The slot follows from where the tile lies: a convolution's last bit may depend on it.
        slot = (2 * (tile.core.y0 // height) + tile.core.x0 // width) % batch_size
        free = next((batch for batch in batches if slot not in batch), None)
        if free is None:
            free = {}
            batches.append(free)
        free[slot] = tile
    return batches


def mirrored(pixels: NDArray[np.uint8], inside: Box, wanted: Box) -> NDArray[np.uint8]:
    """Pixels of ``inside`` continued to ``wanted`` by mirroring at the slide's edge.

    Tissue that the edge cuts goes on behind it; white would be an edge of its own, and upset a network's normalisation.
    """
    rows = (inside.y0 - wanted.y0, wanted.y1 - inside.y1)
    columns = (inside.x0 - wanted.x0, wanted.x1 - inside.x1)
    if not any(rows + columns):
        return pixels
    return np.pad(pixels, [rows, columns, (0, 0)], mode="symmetric")


def _find_nuclei(block: Block, scoring: _Scoring, groups: PixelGroups) -> tuple[Nuclei, int]:
    """Owned nuclei of the block in order, and how many of them reach the edge of their piece."""
    view = scoring.view
    segmenter = scoring.segmenter
    pixels = scoring.pixels
    names = tuple(item.name for item in segmenter.classes)
    colors = tuple(item.color for item in segmenter.classes)
    # Concatenate needs one table, also where nothing is found.
    tables = [empty(view.frame, names, colors, groups.columns)]
    at_edge = 0
    for piece in _pieces(view, block, segmenter.min_halo):
        part = np.ascontiguousarray(scoring.scores[:, *piece.read.relative_to(block.read).slices])
        if not part[FOREGROUND].any():
            continue
        with scoring.clock.stage("separate"):
            labels = segmenter.separate(part)
        with scoring.clock.stage("measure"):
            if isinstance(segmenter, Classifying):
                part = segmenter.classify(labels, part)
            nuclei = measure(labels, part, piece.read, view.frame, segmenter.classes)
            # Each piece owns what has its centroid in its core, so what two pieces see is counted once.
            nuclei = nuclei.select(nuclei.owned_by(piece.core))
            seen = None if pixels is None else pixels[piece.read.relative_to(block.read).slices]
            nuclei = groups.added(nuclei, labels, part[FOREGROUND], seen, piece.read)
            if isinstance(segmenter, Certain):
                nuclei = replace(nuclei, probabilities=segmenter.certainty(nuclei))
            at_edge += int(nuclei.touching(_open_sides(piece.read, view.shape)).sum())
            tables.append(nuclei)
    with scoring.clock.stage("measure"):
        return _in_order(concatenate(tables)), at_edge


def _pieces(view: SlideView, block: Block, halo: int) -> Iterator[Block]:
    """Parts of a block, cut along a grid anchored to the view, each with a halo of its own."""
    for cell in BlockGrid(view.shape, PIECE, halo).overlapping(block.core):
        core = cell.core.clip(block.core)
        yield Block(index=cell.index, core=core, read=core.grow(halo).clip(block.read))


def _in_order(nuclei: Nuclei) -> Nuclei:
    """Sorted by centroid (ties by first corner, which no two nuclei share) and numbered 1..n."""
    first = nuclei.outlines[nuclei.offsets[:-1]]
    # lexsort takes its last key first.
    order = np.lexsort((first[:, 1], first[:, 0], nuclei.centroids[:, 1], nuclei.centroids[:, 0]))
    return nuclei.select(order).with_ids(1)


def _open_sides(box: Box, shape: tuple[int, int]) -> Box:
    """``box`` with the sides that it shares with the view pushed out: nothing is cut there, the slide just ends."""
    return Box(
        box.y0 if box.y0 > 0 else -1,
        box.x0 if box.x0 > 0 else -1,
        box.y1 if box.y1 < shape[0] else shape[0] + 1,
        box.x1 if box.x1 < shape[1] else shape[1] + 1,
    )


def _bounding_box(boxes: list[Box]) -> Box:
    return Box(
        min(box.y0 for box in boxes),
        min(box.x0 for box in boxes),
        max(box.y1 for box in boxes),
        max(box.x1 for box in boxes),
    )


class _Clock:
    """Adds up wall time by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "wait", "network", "separate", "measure"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begin
