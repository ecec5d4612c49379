"""The block task and the runner: the same nuclei however the slide is cut and whoever does the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.oracle import MPP, OracleSegmenter, plane, scores_of
from wsinuc.errors import ConfigError
from wsinuc.grid import STRIPE, Block, BlockGrid, Box, TileGrid, in_stripes
from wsinuc.nuclei import Nuclei, concatenate
from wsinuc.nuclei.measure import measure
from wsinuc.pipeline.block import BlockResult, in_slots, process_block
from wsinuc.pipeline.run import run_blocks
from wsinuc.pipeline.scored import MOST_BYTES, ScoredTile, ScoredTiles
from wsinuc.pipeline.search import needs_work
from wsinuc.recent import Recent
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import SlideView
from wsinuc.tissue import whole


def view_of(pixels: np.ndarray) -> SlideView:
    return ArraySlide(pixels, mpp=MPP).at(MPP)


def segment(view: SlideView, block: int, *, workers: int = 1, scheduler: str = "loop") -> list[BlockResult]:
    """Results of all blocks of a view in index order."""
    segmenter = OracleSegmenter()
    gate = threading.Lock()
    tissue = whole(view)

    def task(item: Block) -> BlockResult:
        return process_block(view, item, segmenter, batch_size=3, tissue=tissue, gate=gate)

    done = run_blocks(task, BlockGrid(view.shape, block, segmenter.min_halo), workers, scheduler=scheduler)
    return [result for _, result in sorted(done, key=lambda pair: pair[0].index)]


def as_set(nuclei: Nuclei) -> set[tuple[object, ...]]:
    """Every nucleus as a value, with its outline and all that was measured, without its id."""
    columns = [nuclei.centroids, nuclei.areas_px, nuclei.classes, nuclei.class_probabilities, nuclei.probabilities]
    columns += [nuclei.disagreements, *nuclei.measurements.values()]
    rings = zip(nuclei.offsets[:-1], nuclei.offsets[1:], strict=True)
    return {
        (nuclei.outlines[start:stop].tobytes(), *(column[i].tobytes() for column in columns))
        for i, (start, stop) in enumerate(rings)
    }


def one_pass(pixels: np.ndarray, view: SlideView) -> Nuclei:
    """The whole image separated and measured at once, without blocks, tiles or pieces."""
    segmenter = OracleSegmenter()
    scores = scores_of(pixels)
    box = Box.of_shape(pixels.shape[:2])
    return measure(segmenter.separate(scores), scores, box, view.frame, segmenter.classes)


@pytest.fixture(scope="module")
def in_one_pass() -> tuple[SlideView, Nuclei]:
    """A view, and its nuclei as one pass over it finds them."""
    pixels = plane((2300, 1900))
    view = view_of(pixels)
    return view, one_pass(pixels, view)


@pytest.mark.parametrize("block", [512, 2048])
def test_blocks_find_what_one_pass_over_the_whole_image_finds(
    in_one_pass: tuple[SlideView, Nuclei], block: int
) -> None:
    view, expected = in_one_pass
    results = segment(view, block)
    nuclei = concatenate([result.nuclei for result in results])
    assert len(expected) > 2000
    assert len(nuclei) == len(expected)
    assert as_set(nuclei) == as_set(expected)
    assert sum(result.at_edge for result in results) == 0


class MeasuredOracle(OracleSegmenter):
    """An oracle that knows that it is right half as often as it says."""

    def certainty(self, nuclei: Nuclei) -> np.ndarray:
        return nuclei.probabilities * np.float32(0.5)


def test_the_certainty_of_a_model_changes_the_probability_and_nothing_else() -> None:
    view = view_of(plane((400, 400)))

    def nuclei(segmenter: OracleSegmenter) -> Nuclei:
        block = next(iter(BlockGrid(view.shape, 512, segmenter.min_halo)))
        return process_block(view, block, segmenter, batch_size=1, tissue=whole(view), gate=threading.Lock()).nuclei

    plain, measured = nuclei(OracleSegmenter()), nuclei(MeasuredOracle())
    assert len(plain) > 50
    np.testing.assert_allclose(measured.probabilities, plain.probabilities / 2)
    assert as_set(measured) == as_set(replace(plain, probabilities=measured.probabilities))


@settings(max_examples=15, deadline=None)
@given(
    origin=st.tuples(st.integers(0, 999), st.integers(0, 999)),
    shape=st.tuples(st.integers(1, 420), st.integers(1, 420)),
    block=st.sampled_from([64, 128, 192, 320]),
)
def test_any_cut_of_any_plane_gives_the_same_nuclei(
    origin: tuple[int, int], shape: tuple[int, int], block: int
) -> None:
    pixels = plane(shape, origin)
    view = view_of(pixels)
    nuclei = concatenate([result.nuclei for result in segment(view, block)])
    assert as_set(nuclei) == as_set(one_pass(pixels, view))


def test_threads_and_loop_agree_in_every_id() -> None:
    view = view_of(plane((700, 600)))
    for one, other in zip(segment(view, 256), segment(view, 256, workers=3, scheduler="threads"), strict=True):
        np.testing.assert_array_equal(one.nuclei.outlines, other.nuclei.outlines)
        np.testing.assert_array_equal(one.nuclei.ids, np.arange(1, len(one.nuclei) + 1))


def test_batches_have_one_shape_and_stay_inside_a_block() -> None:
    view = view_of(plane((300, 300)))
    segmenter = OracleSegmenter()
    block = BlockGrid(view.shape, 512, segmenter.min_halo)[0]
    result = process_block(view, block, segmenter, batch_size=4, tissue=whole(view), gate=threading.Lock())
    assert result.tiles == 16
    assert segmenter.batches == [4] * 4
    assert set(result.seconds) == {"read", "wait", "network", "separate", "measure"}


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([1, 2, 4, 8]))
def test_a_tile_has_one_slot_whoever_asks_and_squares_of_tiles_fill_batches(y: int, x: int, size: int) -> None:
    grid = TileGrid(64, 16)

    def slots(box: Box) -> dict[Box, int]:
        return {tile.core: slot for batch in in_slots(grid.covering(box), size) for slot, tile in batch.items()}

    square = Box(32 * y, 32 * x, 32 * y + 128, 32 * x + 128)
    part = Box(square.y0 + 32, square.x0 + 64, square.y1, square.x1)
    assert len(slots(square)) == 16
    assert slots(part).items() <= slots(square).items()
    assert len(in_slots(grid.covering(square), size)) == 16 // size
    two_columns = Box(square.y0, square.x0, square.y1, square.x0 + 64)
    assert len(in_slots(grid.covering(two_columns), size)) == 8 // size


@pytest.mark.parametrize("most_bytes", [2**30, 100_000, 0])
def test_blocks_that_share_scores_find_the_same_and_score_a_tile_once_while_there_is_room(most_bytes: int) -> None:
    pixels = plane((500, 420))
    view, segmenter = view_of(pixels), OracleSegmenter()
    grid, scored = BlockGrid(view.shape, 128, segmenter.min_halo), ScoredTiles(Recent(most_bytes))
    results = [
        process_block(
            view, grid[index], segmenter, batch_size=2, tissue=whole(view), gate=threading.Lock(), scored=scored
        )
        for index in in_stripes(grid, range(len(grid)))
    ]
    assert as_set(concatenate([result.nuclei for result in results])) == as_set(one_pass(pixels, view))
    distinct = len(TileGrid(segmenter.tile, segmenter.margin).covering(Box.of_shape(view.shape)))
    alone = sum(result.tiles for result in segment(view, 128))
    total = sum(result.tiles for result in results)
    assert total == {2**30: distinct, 0: alone}.get(most_bytes, total)
    assert distinct <= total <= alone
    assert alone > 2 * distinct


def test_the_memory_holds_what_stripes_come_back_to_whatever_the_slide() -> None:
    shape, tile = (4 * STRIPE * 2048, 40_000), TileGrid(1024 + 2 * 176, 176)
    grid, scored = BlockGrid(shape, 2048, 200), ScoredTiles(Recent(MOST_BYTES))
    scores = np.broadcast_to(np.uint8(0), (4, tile.stride, tile.stride))  # counts its bytes, has none
    asked, made = set(), 0
    for index in in_stripes(grid, range(len(grid))):
        for core in (found.core for found in tile.covering(grid[index].read)):
            asked.add(core)
            if scored.get(core) is None:
                scored.keep(core, ScoredTile(scores, ()))
                made += 1
    # Only the rows of tiles on both sides of a stripe's border are made twice: 2 of 8.
    assert made < 1.25 * len(asked)


def test_two_slides_share_memory_but_no_tiles() -> None:
    memory, box = Recent[ScoredTile](MOST_BYTES), Box(0, 0, 8, 8)
    one, other = ScoredTiles(memory), ScoredTiles(memory)
    one.keep(box, ScoredTile(np.zeros((3, 8, 8), np.uint8), ()))
    assert one.get(box) is not None
    assert other.get(box) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=40))
def test_no_more_tiles_are_kept_than_there_is_room_for(asked: list[tuple[int, int]]) -> None:
    memory = Recent[ScoredTile](12)
    for key, size in asked:
        memory.keep(key, ScoredTile(np.zeros((1, 1, size), np.uint8), ()), size)
        kept = [tile for name in range(6) if (tile := memory.get(name))]
        assert sum(tile.scores.nbytes for tile in kept) <= 12
        assert memory.get(key) is not None  # the last one stays, if it fits


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_stripes_hold_every_block_once_and_step_to_a_neighbour(shape: tuple[int, int]) -> None:
    grid = BlockGrid(shape, 10, 0)
    order = in_stripes(grid, range(len(grid)))
    assert sorted(order) == list(range(len(grid)))
    places = [divmod(index, grid.counts[1]) for index in order]
    within = [(a, b) for a, b in pairwise(places) if a[0] // STRIPE == b[0] // STRIPE]
    assert all(abs(b[1] - a[1]) <= 1 and abs(b[0] - a[0]) < STRIPE for a, b in within)


class LeftHalf:
    """Tissue left of a column."""

    def __init__(self, column: int) -> None:
        self.column = column

    def touches(self, box: Box) -> bool:
        return box.x0 < self.column

    def without_padding(self, pixels: np.ndarray, box: Box) -> np.ndarray:
        return pixels


@pytest.mark.parametrize("column", [40, 129, 250])
def test_background_tiles_are_skipped_alike_by_all_block_sizes(column: int) -> None:
    view = view_of(plane((400, 400)))
    segmenter, tissue = OracleSegmenter(), LeftHalf(column)
    found = []
    for side in (64, 128, 448):
        blocks = [
            block for block in BlockGrid(view.shape, side, segmenter.min_halo) if needs_work(block, segmenter, tissue)
        ]
        results = [
            process_block(view, block, segmenter, batch_size=4, tissue=tissue, gate=threading.Lock())
            for block in blocks
        ]
        found.append(as_set(concatenate([result.nuclei for result in results])))
    assert found[0] == found[1] == found[2]
    assert 0 < len(found[0]) < len(as_set(one_pass(plane((400, 400)), view)))


def test_a_nucleus_larger_than_the_halo_is_counted() -> None:
    pixels = np.full((600, 600, 3), 255, np.uint8)
    pixels[20:580, 250:262] = (20, 100, 255)  # a bar that no halo of 100 px holds
    results = segment(view_of(pixels), 64)
    assert sum(result.at_edge for result in results) > 0


def test_a_blank_block_is_an_empty_result() -> None:
    view = view_of(np.full((100, 100, 3), 255, np.uint8))
    (result,) = segment(view, 128)
    assert len(result.nuclei) == 0
    assert result.nuclei.class_names == ("round", "long")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_never_more_blocks_are_alive_than_workers(workers: int) -> None:
    alive, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(workers)

    def task(item: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        if item < workers:
            together.wait(60)
        time.sleep(0.002)
        with lock:
            alive -= 1
        return item * item

    assert sorted(run_blocks(task, range(60), workers)) == [(item, item * item) for item in range(60)]
    assert most == workers


def test_a_slow_consumer_holds_the_workers_back() -> None:
    started = []
    finished = run_blocks(lambda item: started.append(item), range(100), 2)
    next(finished)
    time.sleep(0.2)
    assert len(started) <= 1 + 2 + 2  # taken, waiting in the queue, waiting for room in it
    finished.close()
    assert len(started) < 10


def test_results_come_in_order_of_completion() -> None:
    gate = threading.Event()

    def task(item: int) -> None:
        if item == 0:
            gate.wait(60)
        if item == 5:
            gate.set()

    order = [item for item, _ in run_blocks(task, range(6), 2)]
    assert order[-2:] in ([0, 5], [5, 0])


def test_a_failing_block_stops_the_rest_and_waits_for_the_running() -> None:
    started: list[int] = []
    ended: list[int] = []

    def task(item: int) -> None:
        started.append(item)
        if item == 1:
            raise ValueError("no")
        time.sleep(0.1)
        ended.append(item)

    with pytest.raises(ValueError, match="no"):
        list(run_blocks(task, range(1000), 3))
    assert len(started) < 10
    assert sorted(ended) == sorted(set(started) - {1})
    assert not any(thread.name.startswith("wsinuc") for thread in threading.enumerate())


def test_an_interrupted_consumer_leaves_nothing_running() -> None:
    ended: list[int] = []

    def task(item: int) -> int:
        time.sleep(0.02)
        ended.append(item)
        return item

    def consume(finished: Iterator[tuple[int, int]]) -> None:
        for _ in finished:
            raise KeyboardInterrupt

    finished = run_blocks(task, range(1000), 3)
    with pytest.raises(KeyboardInterrupt):
        consume(finished)
    finished.close()
    assert len(ended) < 20
    assert not any(thread.name.startswith("wsinuc") for thread in threading.enumerate())


def test_nothing_to_do_is_no_error() -> None:
    assert list(run_blocks(abs, [], 2)) == []


@pytest.mark.parametrize(("workers", "scheduler"), [(0, "threads"), (1, "processes")])
def test_senseless_settings_are_refused(workers: int, scheduler: str) -> None:
    with pytest.raises(ConfigError):
        run_blocks(abs, [1], workers, scheduler=scheduler)
