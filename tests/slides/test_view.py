"""A view's pixel depends on its position alone, is what an anti-aliased resize gives, and survives damage."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.files.slides import SHARED_SLIDES, needs_shared, spoil
from helpers.fragile import Fragile
from wsinuc.errors import ReadError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.resample import resample
from wsinuc.slides.taps import taps_for
from wsinuc.slides.view import SlideView, read_resilient

PIXELS = np.random.default_rng(1).integers(0, 256, (157, 211, 3), dtype=np.uint8)
SCALES = (0.3, 0.5, 1.0, 1.1, 1.6, 2.0, 3.7, 16.0)


def scaled(scale: float, pixels: np.ndarray = PIXELS) -> SlideView:
    return ArraySlide(pixels, mpp=0.25).at(0.25 * scale, tolerance=0.0)


@given(st.sampled_from(SCALES), st.data())
@settings(max_examples=200, deadline=None)
def test_any_box_is_a_crop_of_everything(scale, data):
    view = scaled(scale)
    height, width = view.shape
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(y0, x0, data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width)))
    assert np.array_equal(view.read(box), view.read(Box.of_shape(view.shape))[box.slices])


@pytest.mark.parametrize("scale", SCALES)
def test_how_much_is_decoded_at_once_does_not_matter(scale, monkeypatch):
    view = scaled(scale)
    expected = view.read(Box.of_shape(view.shape))
    monkeypatch.setattr("wsinuc.slides.scaled._SOURCE_SIDE", 37)
    assert np.array_equal(view.read(Box.of_shape(view.shape)), expected)


@given(scale=st.floats(0.3, 16.0), white=st.booleans())
@settings(max_examples=50, deadline=None)
def test_numpy_shrinks_to_the_same_bits_as_compiled_loops(scale: float, white: bool) -> None:
    height, width = 157, 211
    pixels = np.full_like(PIXELS, 255) if white else PIXELS  # white has the largest sums
    rows = taps_for(0, max(1, round(height / scale)), scale, height)
    columns = taps_for(0, max(1, round(width / scale)), scale, width)
    source = pixels[rows.start : rows.stop, columns.start : columns.stop]
    assert np.array_equal(resample(source, rows, columns, compiled=False), resample(source, rows, columns))


@pytest.mark.parametrize("scale", SCALES)
def test_it_is_the_anti_aliased_resize(scale):
    view = scaled(scale)
    height, width = view.shape
    rows, columns = int(157 / scale), int(211 / scale)  # pixels that lie wholly inside, so that both mean the same area
    resized = Image.fromarray(PIXELS).resize(
        (columns, rows), Image.Resampling.BILINEAR, (0, 0, columns * scale, rows * scale)
    )
    inner = (slice(0, rows - 2), slice(0, columns - 2))
    ours = view.read(Box.of_shape((height, width))).astype(int)
    assert np.abs(ours[inner] - np.asarray(resized)[inner]).max() <= 1


@pytest.mark.parametrize("scale", [s for s in SCALES if s > 1])
def test_against_a_sum_written_out(scale):
    view, channel = scaled(scale), PIXELS[..., 1].astype(float)

    def matrix(count: int, length: int) -> np.ndarray:
        centre = (np.arange(count)[:, None] + 0.5) * scale
        weight = np.clip(1 - np.abs(np.arange(length)[None] + 0.5 - centre) / scale, 0, None)
        return weight / weight.sum(axis=1, keepdims=True)

    height, width = view.shape
    expected = matrix(height, 157) @ channel @ matrix(width, 211).T
    assert np.abs(view.read(Box.of_shape(view.shape))[..., 1] - expected).max() < 0.6


@given(st.floats(0.2, 300), st.integers(1, 3000), st.integers(0, 500))
@settings(deadline=None)
def test_weights_add_up_and_stay_inside(scale, length, start):
    stop = max(1, round(length / scale))
    start = min(start, stop - 1)
    taps = taps_for(start, stop, scale, length)
    assert (taps.weights.sum(axis=1) == 2**14).all()
    assert (taps.weights >= 0).all()
    assert taps.start >= 0
    assert taps.stop <= length


@pytest.mark.parametrize("scale", SCALES)
def test_a_flat_slide_stays_flat(scale):
    for value in (0, 1, 127, 254, 255):
        view = scaled(scale, np.full_like(PIXELS, value))
        assert (view.read(Box.of_shape(view.shape)) == value).all()


@pytest.mark.parametrize("scale", [1.0, 1.6])
def test_outside_is_white(scale):
    view = scaled(scale)
    pixels = view.read(Box(-4, -6, view.shape[0] + 3, 20))
    assert (pixels[:4] == 255).all()
    assert (pixels[:, :6] == 255).all()
    assert (pixels[-3:] == 255).all()
    assert np.array_equal(pixels[4:-3, 6:], view.read(Box(0, 0, view.shape[0], 20)))
    assert (view.read(Box(-5, -5, -1, -1)) == 255).all()


def test_a_pyramid_and_its_level_0_show_the_same_place():
    ramp = np.broadcast_to(np.linspace(0, 255, 1024)[None, :, None], (512, 1024, 3)).astype(np.uint8)
    one, four = ArraySlide(ramp, mpp=0.25), ArraySlide(ramp, mpp=0.25, level_downsamples=(1, 2, 4))
    a, b = one.at(1.7), four.at(1.7)
    assert (a.level, b.level) == (0, 2)
    assert a.shape == b.shape
    assert a.downsample == pytest.approx(b.downsample)
    difference = a.read(Box.of_shape(a.shape)).astype(int) - b.read(Box.of_shape(b.shape))
    assert np.abs(difference[:, 1:-1]).max() <= 1


def test_a_view_pickles():
    view = pickle.loads(pickle.dumps(scaled(1.6)))
    assert np.array_equal(view.read(Box(3, 4, 30, 40)), scaled(1.6).read(Box(3, 4, 30, 40)))


class Spoilt(ArraySlide):
    """As if other threads' bad regions kept killing the shared handle: only a slide of one's own can be read."""

    alone = False

    def _decode(self, handle, box, level):
        if not self.alone:
            raise OSError("another thread's error")
        return super()._decode(handle, box, level)

    def duplicate(self):
        own = super().duplicate()
        own.alone = True
        return own


class Flaky(ArraySlide):
    """Fails at the first read of every box, as a busy network drive does, and at every read of a large one."""

    def __init__(self, pixels, *, mpp):
        super().__init__(pixels, mpp=mpp)
        self.seen = set()

    def _decode(self, handle, box, level):
        if box not in self.seen or box.shape[0] > 32:
            self.seen.add(box)
            raise OSError("not now")
        return super()._decode(handle, box, level)


class TestResilience:
    def test_recovery_reads_on_a_handle_of_its_own(self):
        pixels, lost = read_resilient(Spoilt(PIXELS, mpp=0.25).at(0.25), Box(10, 10, 150, 200))
        assert lost == []
        assert np.array_equal(pixels, PIXELS[10:150, 10:200])

    def test_a_piece_gets_a_second_chance(self):
        pixels, lost = read_resilient(Flaky(PIXELS, mpp=0.25).at(0.25), Box(10, 10, 150, 200), piece=32)
        assert lost == []
        assert np.array_equal(pixels, PIXELS[10:150, 10:200])

    def test_only_the_piece_with_the_spot_is_lost(self):
        view = Fragile(PIXELS, mpp=0.25).at(0.25)
        pixels, lost = read_resilient(view, Box(10, 10, 150, 200), piece=32)
        assert lost == [Box(32, 32, 64, 64)]
        expected = PIXELS.copy()
        expected[lost[0].slices] = 255
        assert np.array_equal(pixels, expected[10:150, 10:200])

    def test_lost_pieces_lie_on_a_fixed_grid_and_inside_the_box(self):
        view = Fragile(PIXELS, mpp=0.25).at(0.25)
        assert read_resilient(view, Box(50, 40, 90, 90), piece=32)[1] == [Box(50, 40, 64, 64)]

    def test_without_damage_nothing_is_lost_and_nothing_read_twice(self, monkeypatch):
        view = Fragile(PIXELS, mpp=0.25).at(0.25)
        monkeypatch.setattr(Fragile, "duplicate", lambda self: pytest.fail("no second handle is needed"))
        pixels, lost = read_resilient(view, Box(70, 70, 90, 90))
        assert lost == []
        assert np.array_equal(pixels, PIXELS[70:90, 70:90])

    def test_threads_that_share_a_slide_do_not_spoil_each_other(self):
        slide = Fragile(PIXELS, mpp=0.25)
        view, start = slide.at(0.25), threading.Barrier(4)

        def run(index: int):
            start.wait()
            box = Box(0, 0, 100, 100) if index % 2 else Box(70, 70, 150, 200)
            return [(box, *read_resilient(view, box, piece=32)) for _ in range(100)]

        with ThreadPoolExecutor(4) as pool:
            for box, pixels, lost in (item for items in pool.map(run, range(4)) for item in items):
                assert lost == ([Box(32, 32, 64, 64)] if box.y0 == 0 else [])
                assert np.array_equal(pixels[-20:], PIXELS[box.slices][-20:])

    @needs_shared
    @pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
    def test_a_real_slide_with_garbage_in_it(self, tmp_path: Path, reader):
        whole = open_slide(SHARED_SLIDES / "CMU-1-Small-Region.svs")
        view = open_slide(spoil(tmp_path / "spoilt.svs"), reader=reader).at(0.499)
        box = Box(960, 0, 1920, view.shape[1])  # the rows of tiles about the middle, where the garbage is
        with pytest.raises(ReadError):
            view.read(box)
        pixels, lost = read_resilient(view, box)
        assert 0 < sum(part.shape[0] * part.shape[1] for part in lost) < 0.2 * box.shape[0] * box.shape[1]
        good = np.ones(box.shape, bool)
        for part in lost:
            inside = part.relative_to(box).slices
            good[inside] = False
            assert (pixels[inside] == 255).all()
        assert (pixels[good] == whole.read(box, 0)[good]).mean() > 0.98  # a tile may decode to rubbish without an error

    @needs_shared
    def test_a_slide_of_nothing_but_damage(self):
        view = open_slide(SHARED_SLIDES / "unreadable.svs").at(0.5)
        pixels, lost = read_resilient(view, Box(0, 0, 16, 16))
        assert lost == [Box(0, 0, 16, 16)]
        assert (pixels == 255).all()
