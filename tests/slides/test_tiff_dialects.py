"""The same picture in every layout gives the same pixels, or one clear line; what cannot be is
refused before it costs."""

from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from helpers.files.slides import SHARED_SLIDES, needs_shared
from helpers.files.tiff_dialects import (
    HEIGHT,
    LAYOUTS,
    WIDTH,
    Layout,
    grey_picture,
    levels_of,
    picture,
    write,
)
from helpers.files.tiff_refusals import HOSTILE, REFUSED, Refusal
from helpers.oracle import MPP as PLANE_MPP
from helpers.oracle import OracleSegmenter, plane
from helpers.runs import run
from wsinuc.errors import ReadError, SlideError
from wsinuc.grid import Box
from wsinuc.slides import READERS, open_slide
from wsinuc.slides.base import SlideHeader
from wsinuc.slides.choose import sees_less
from wsinuc.slides.tiff.reader import survey
from wsinuc.workflows.doctor.info import describe_slide

CASES = SHARED_SLIDES.parents[1] / "cases"
BOXES = [Box(0, 0, 33, 41), Box(120, 100, 260, 270), Box(HEIGHT - 60, WIDTH - 70, HEIGHT, WIDTH), Box(77, 5, 78, 400)]


def expected_of(layout: Layout) -> np.ndarray:
    if layout.expected is not None:
        return layout.expected()
    return np.repeat(grey_picture()[..., None], 3, axis=2) if layout.grey else picture()


def difference(found: np.ndarray, meant: np.ndarray) -> int:
    assert found.shape == meant.shape
    return int(np.abs(found.astype(int) - meant).max())


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_same_picture_in_every_layout(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / f"slide{layout.suffix}"
    layout.write(path)
    with open_slide(path) as slide:
        assert slide.reader == layout.reader
        assert slide.file_mpp == (None if layout.mpp is None else pytest.approx(layout.mpp))
        levels = levels_of(expected_of(layout), layout.levels)
        assert slide.level_shapes == tuple(level.shape[:2] for level in levels)
        assert difference(slide.read(Box.of_shape((HEIGHT, WIDTH))), levels[0]) <= layout.tolerance
        for box in BOXES:
            assert difference(slide.read(box), levels[0][box.slices]) <= layout.tolerance
        for level, meant in enumerate(levels[1:], start=1):
            shrinking = layout.tolerance + (1 if "bits" in layout.name else 0)  # rounded before or after the means
            assert difference(slide.read(Box.of_shape(meant.shape[:2]), level), meant) <= shrinking
        assert (layout.note in " ".join(slide.header.notes)) if layout.note else not slide.header.notes


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_palette_of_two_colours(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    marked = np.arange(48 * 40).reshape(48, 40) % 3 == 0
    path = tmp_path / "a.tif"
    # Red, then green, then blue of both colours, with 16 bits each.
    colors = np.array([[240, 90], [220, 40], [230, 120]], np.uint16) * 257
    colormap = (320, 3, 6, tuple(colors.ravel().tolist()), True)
    tifffile.imwrite(path, marked, photometric="minisblack", tile=tile, extratags=[colormap])
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        # tifffile writes palettes of 8 and 16 bits alone.
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(3)
    with open_slide(path) as slide:
        pixels = slide.read(Box(0, 0, 48, 40))
    assert (pixels[marked] == (90, 40, 120)).all()
    assert (pixels[~marked] == (240, 220, 230)).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_whatever_reader_is_forced_shows_the_same_or_refuses(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / f"slide{layout.suffix}"
    layout.write(path)
    shown = []
    for reader in READERS:
        try:
            with open_slide(path, reader=reader) as slide:
                shown.append(slide.read(Box.of_shape(slide.level_shapes[0])))
        except SlideError:
            continue
        if reader in ("tiff", "image"):
            assert difference(shown[-1], expected_of(layout)) <= layout.tolerance
    assert shown


@pytest.mark.parametrize("reader", [*READERS, "auto"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_is_heeded_or_refused_by_every_reader(orientation: int, reader: str, tmp_path: Path) -> None:
    layout = next(layout for layout in LAYOUTS if layout.name == f"orientation {orientation}")
    layout.write(tmp_path / "a.tif")
    if reader in ("openslide", "tiffslide"):
        with pytest.raises(SlideError, match=rf"orientation {orientation}.*--reader auto"):
            open_slide(tmp_path / "a.tif", reader=reader)
    else:
        with open_slide(tmp_path / "a.tif", reader=reader) as slide:
            assert np.array_equal(slide.read(Box.of_shape((HEIGHT, WIDTH))), picture())


@pytest.mark.parametrize("refusal", [*REFUSED, *HOSTILE], ids=lambda refusal: refusal.name)
def test_what_cannot_be_a_slide_is_one_line(refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / f"slide{refusal.suffix}"
    refusal.write(path)
    tracemalloc.start()
    try:
        with pytest.raises(SlideError, match=refusal.says) as caught:
            open_slide(path)
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20, "nothing of what a file only claims is allocated"
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    for reader in READERS:
        with pytest.raises(SlideError, match=rf"slide{refusal.suffix}"):
            open_slide(path, reader=reader)


def test_directories_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", *levels_of(picture(), 4))
    monkeypatch.setattr("wsinuc.slides.tiff.directories.MAX_DIRECTORIES", 4)
    assert len(open_slide(tmp_path / "a.tif").level_shapes) == 4
    monkeypatch.setattr("wsinuc.slides.tiff.directories.MAX_DIRECTORIES", 3)
    with pytest.raises(SlideError, match="more than 3 images"):
        open_slide(tmp_path / "a.tif")


def test_what_openslide_alone_decodes_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aperio = "Aperio Image Library v11.2.1\n420x300 (128x128) J2K/YUV16 Q=70|AppMag = 20|MPP = 0.4990"
    write(tmp_path / "a.svs", picture(), description=aperio, photometric="ycbcr", compression=33003)
    with open_slide(tmp_path / "a.svs") as slide:  # YCbCr in JPEG 2000, as Aperio's scanners write it
        assert (slide.reader, slide.vendor, slide.mpp) == ("openslide", "aperio", 0.499)
    with pytest.raises(SlideError, match="YCbCr"):
        open_slide(tmp_path / "a.svs", reader="tiff")
    monkeypatch.setattr("wsinuc.slides.tiff.directories.MAX_SEGMENT", 1000)
    monkeypatch.setattr("wsinuc.slides.tiff.layout._VENDORS", {"svs": "hamamatsu"})  # as if the file were an NDPI
    write(tmp_path / "b.svs", picture(), description=aperio, tile=None, rowsperstrip=HEIGHT, compression="jpeg")
    assert survey(tmp_path / "b.svs").header.vendor == "hamamatsu"  # a strip of it is a whole level
    with pytest.raises(SlideError, match="unpacks to"):
        open_slide(tmp_path / "b.svs", reader="tiff")


class TestReader:
    @pytest.fixture(params=["OME channels", "12 of 16 bits", "orientation 6", "strips with a pyramid"])
    def slide(self, request: pytest.FixtureRequest, tmp_path: Path):
        layout = next(layout for layout in LAYOUTS if layout.name == request.param)
        layout.write(tmp_path / f"slide{layout.suffix}")
        return open_slide(tmp_path / f"slide{layout.suffix}", reader="tiff")

    def test_pickles_with_its_dialect(self, slide) -> None:
        again = pickle.loads(pickle.dumps(slide))
        assert np.array_equal(again.read(BOXES[1]), slide.read(BOXES[1]))
        assert again.header == slide.header

    def test_threads_share_it_while_it_reopens(self, slide) -> None:
        meant = slide.read(Box.of_shape((HEIGHT, WIDTH)))
        boxes = [Box(y, x, y + 50, x + 60) for y in range(0, 240, 40) for x in range(0, 350, 40)]

        def read(box: Box) -> np.ndarray:
            pixels = slide.read(box)
            if box.x0 == 0:
                slide._discard(slide._acquire())  # as a failed read does; the next one opens a fresh handle
            return pixels

        with ThreadPoolExecutor(4) as pool:
            found = pool.map(read, boxes)
            assert all(np.array_equal(pixels, meant[box.slices]) for pixels, box in zip(found, boxes, strict=True))

    def test_leaves_no_file_open(self, slide) -> None:
        slide.read(BOXES[0])
        path = str(slide.path.resolve())
        assert path in [file.path for file in psutil.Process().open_files()]
        slide.close()
        assert path not in [file.path for file in psutil.Process().open_files()]


def test_looking_at_files_leaves_none_open(tmp_path: Path) -> None:
    for layout in LAYOUTS[::12]:
        layout.write(tmp_path / f"slide{layout.suffix}")
        describe_slide(tmp_path / f"slide{layout.suffix}", mpp=0.5)
        assert not [f.path for f in psutil.Process().open_files() if str(tmp_path) in f.path]


def test_a_tile_beyond_the_end_of_the_file_costs_its_region_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, picture())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages.first.tags["TileByteCounts"]
        tag.overwrite([*tag.value[:-1], 2**31])
    with open_slide(path, reader="tiff") as slide:
        assert np.array_equal(slide.read(Box(0, 0, 128, 128)), picture()[:128, :128])
        with pytest.raises(ReadError, match="beyond the end"):
            slide.read(Box(HEIGHT - 9, WIDTH - 9, HEIGHT, WIDTH))


class TestChoice:
    PLAIN = SlideHeader(vendor="generic-tiff", level_shapes=((800, 600), (400, 300)), mpp_yx=(0.5, 0.5))

    def tiff(self, **changes: object) -> SlideHeader:
        facts = {"vendor": "tiff", "level_shapes": self.PLAIN.level_shapes, "mpp_yx": (0.5, 0.5), **changes}
        return SlideHeader(**facts)  # type: ignore[arg-type]

    def test_openslide_keeps_what_it_sees_whole(self) -> None:
        assert sees_less(self.PLAIN, self.tiff()) is None
        assert sees_less(self.PLAIN, self.tiff(mpp_yx=(0.501, 0.499))) is None

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"dialect": "rgb, 12 bits"}, "12 bits"),
            ({"vendor": "ome-tiff"}, "OME"),
            ({"level_shapes": ((800, 600),)}, "levels"),
            ({"level_shapes": ((1600, 1200), (800, 600), (400, 300))}, "levels"),
            ({"mpp_yx": (0.25, 0.25)}, "resolution"),
            ({"mpp_yx": None}, "resolution"),
        ],
    )
    def test_a_better_view_wins(self, changes: dict, why: str) -> None:
        assert why in str(sees_less(self.PLAIN, self.tiff(**changes)))

    def test_a_makers_format_is_left_to_openslide_unless_it_sees_much_less(self) -> None:
        seen = SlideHeader(vendor="aperio", level_shapes=((800, 600),), mpp_yx=(0.25, 0.25))
        assert sees_less(seen, self.tiff(level_shapes=((800, 600), (400, 300)))) is None
        assert "smaller" in str(sees_less(seen, self.tiff(level_shapes=((8000, 6000),))))
        assert "orientation" in str(sees_less(seen, self.tiff(dialect="rgb, orientation 3")))


def test_what_was_read_how_reaches_the_result(tmp_path: Path) -> None:
    stored = np.round(plane((200, 180)).astype(float) * (4095 / 255)).astype(np.uint16)
    per_cm = 1e4 / PLANE_MPP
    write(tmp_path / "deep.tif", stored, resolution=(per_cm, per_cm))
    write(tmp_path / "plain.tif", plane((200, 180)), resolution=(per_cm, per_cm))
    summary = run(tmp_path / "deep.tif", tmp_path / "deep", OracleSegmenter())
    plain = run(tmp_path / "plain.tif", tmp_path / "plain", OracleSegmenter())
    assert any("12-bit" in note for note in summary.notes)
    assert (summary.settings["reader"], summary.settings["dialect"]) == ("tiff", "rgb, 12 bits")
    assert "dialect" not in plain.settings
    assert summary.nuclei == plain.nuclei > 5


@needs_shared
class TestRealFiles:
    def reference(self) -> np.ndarray:
        from PIL import Image

        return np.asarray(Image.open(CASES / "reference.png").convert("RGB"))

    @pytest.mark.parametrize(
        ("name", "tolerance"),
        [
            ("ome-tiff/ome-3channels-cm.ome.tif", 0),
            ("ome-tiff/ome-subifd.ome.tif", 0),
            ("bits/u12in16-tiled.tif", 0),
            ("wrong-image/ome-macro-first-nosize.ome.tif", 0),
            ("wrong-image/thumb-first.tif", 0),
        ],
    )
    def test_pixels_of_the_reference(self, name: str, tolerance: int) -> None:
        with open_slide(CASES / name) as slide:
            assert slide.mpp == pytest.approx(0.499)
            assert difference(slide.read(Box(0, 0, 960, 960)), self.reference()) <= tolerance

    def test_an_upright_image_from_one_upside_down(self) -> None:
        with open_slide(CASES / "orientation" / "orient3-tiled.tif") as slide:
            assert np.array_equal(slide.read(Box(0, 0, 960, 960)), self.reference()[::-1, ::-1])

    def test_an_ome_tiff_of_a_microscope(self) -> None:
        with open_slide(SHARED_SLIDES / "OS-1-detail.ome.tif") as slide:
            assert (slide.reader, slide.level_shapes) == ("tiff", ((1101, 1101),))
            assert slide.mpp == pytest.approx(0.2271, abs=1e-4)
