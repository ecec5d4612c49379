"""Every reader keeps the same promises; files say their resolution or the user does; damage is contained."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.files.slides import (
    HEIGHT,
    SHARED_SLIDES,
    WIDTH,
    needs_shared,
    pyramid,
    random_pixels,
    spoil,
    truncate,
    write_pyramid,
)
from wsinuc.errors import ConfigError, DataError, MppError, ReadError, SlideError
from wsinuc.grid import Box
from wsinuc.slides import READERS, open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.base import bounds_from_properties
from wsinuc.slides.image import ImageSlide
from wsinuc.slides.levels import level_downsamples
from wsinuc.slides.resolution import mpp_from_ome, resolve_mpp

APERIO = "Aperio Image Library v11.2.1\n523x401 (128x128) JPEG/RGB Q=90|AppMag = 40|MPP = 0.2500"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides")
    write_pyramid(path / "pyramid.tif", pyramid())
    Image.fromarray(pyramid()[0]).save(path / "plain.png")
    return path


@pytest.fixture(params=["openslide", "tiffslide", "tiff", "image", "array"])
def slide(request, folder):
    if request.param == "array":
        return ArraySlide(pyramid()[0], mpp=0.25, level_downsamples=(1, 2, 4))
    name = "plain.png" if request.param == "image" else "pyramid.tif"
    return open_slide(folder / name, reader=request.param, mpp=0.25)


class TestEveryReader:
    def test_reads_the_pixels_that_were_written(self, slide):
        assert slide.level_shapes[0] == (HEIGHT, WIDTH)
        assert np.array_equal(slide.read(Box.of_shape((HEIGHT, WIDTH)), 0), pyramid()[0])

    def test_pixels_are_the_callers_own(self, slide):
        box = Box(3, 4, 50, 60)
        for pixels in (slide.read(box, 0), slide.at(0.25).read(box), slide.at(0.4).read(box)):
            assert pixels.flags.writeable
            assert pixels.flags.c_contiguous
            pixels[:] = 0
        assert np.array_equal(slide.read(box, 0), pyramid()[0][box.slices])

    def test_outside_is_white(self, slide):
        pixels = slide.read(Box(-3, -2, 5, 6), 0)
        assert pixels.dtype == np.uint8
        assert (pixels[:3] == 255).all()
        assert (pixels[:, :2] == 255).all()
        assert np.array_equal(pixels[3:, 2:], pyramid()[0][:5, :6])
        assert (slide.read(Box(-9, -9, -1, -1), 0) == 255).all()
        assert (slide.read(Box(HEIGHT, 0, HEIGHT + 4, 4), 0) == 255).all()

    def test_a_box_is_a_crop_of_the_level(self, slide):
        for level, shape in enumerate(slide.level_shapes):
            everything = slide.read(Box.of_shape(shape), level)
            for box in (Box(7, 11, 60, 80), Box(shape[0] - 33, shape[1] - 35, *shape), Box(40, 1, 41, 2)):
                assert np.array_equal(slide.read(box, level), everything[box.slices])

    def test_levels_are_whole_downsamples(self, slide):
        assert slide.level_downsamples == tuple((float(f), float(f)) for f in (1, 2, 4)[: len(slide.level_shapes)])

    def test_survives_pickling(self, slide):
        other = pickle.loads(pickle.dumps(slide))
        box = Box(5, 6, 50, 70)
        assert other.reader == slide.reader
        assert other.mpp == slide.mpp
        assert np.array_equal(other.read(box, 0), slide.read(box, 0))

    def test_a_process_that_was_forked_opens_the_file_itself(self, slide, monkeypatch):
        box = Box(5, 6, 50, 70)
        expected = slide.read(box, 0)
        handle = slide._acquire()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert slide._acquire() is not handle or slide.path is None
        assert slide._acquire() is slide._acquire()
        assert np.array_equal(slide.read(box, 0), expected)

    def test_many_threads_share_it_while_it_reopens(self, slide):
        expected = pyramid()[0]
        boxes = [Box(y, x, y + 50, x + 60) for y in range(0, 320, 40) for x in range(0, 440, 40)]

        def read(box: Box) -> np.ndarray:
            pixels = slide.read(box, 0)
            if box.x0 == 0:
                slide._discard(slide._acquire())  # as a failed read does; the next one opens a fresh handle
            return pixels

        with ThreadPoolExecutor(4) as pool:
            results = pool.map(read, boxes)
            assert all(np.array_equal(pixels, expected[box.slices]) for pixels, box in zip(results, boxes, strict=True))

    def test_closes(self, slide):
        with slide:
            slide.read(Box(0, 0, 2, 2), 0)
        with pytest.raises(SlideError, match="closed"):
            slide.read(Box(0, 0, 2, 2), 0)

    def test_chooses_the_level_near_the_wish_and_says_what_it_really_is(self, slide):
        view = slide.at(0.26)
        assert (view.level, view.scale, view.mpp, view.shape) == (0, 1.0, 0.25, (HEIGHT, WIDTH))
        view = slide.at(0.125)
        assert (view.level, view.mpp, view.downsample) == (0, 0.125, (0.5, 0.5))
        assert view.shape == (2 * HEIGHT, 2 * WIDTH)
        view = slide.at(3.0)
        assert view.level == len(slide.level_shapes) - 1
        assert view.downsample == pytest.approx((12.0, 12.0))
        assert view.frame.mpp == 3.0

    def test_thumbnail_keeps_the_aspect(self, slide):
        thumbnail = slide.thumbnail(100)
        assert max(thumbnail.shape) == 100
        assert thumbnail.shape[1] / thumbnail.shape[0] == pytest.approx(WIDTH / HEIGHT, rel=0.02)
        assert slide.thumbnail(4000).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("reader", ["openslide", "tiffslide", "tiff"])
def test_every_level_pixel_comes_from_its_own_place(folder, reader):
    """OpenSlide may shift a level by less than half a level-0 pixel; tiffslide reads it to the bit."""
    smooth = [
        np.tile(np.linspace(0, 255, WIDTH // f)[None, :, None], (HEIGHT // f, 1, 3)).astype(np.uint8) for f in (1, 4)
    ]
    slide = open_slide(write_pyramid(folder / f"smooth-{reader}.tif", smooth), reader=reader)
    read = slide.read(Box.of_shape(slide.level_shapes[1]), 1)
    worst = np.abs(read.astype(int)[:, 1:-1] - smooth[1][:, 1:-1]).max()
    assert worst <= (2 if reader == "openslide" else 0)


@given(st.integers(0, 90), st.integers(0, 120), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_openslide_boxes_of_a_fractional_level_agree(tmp_path_factory, y, x, height, width):
    path = tmp_path_factory.getbasetemp() / "fractional.tif"
    if not path.exists():
        write_pyramid(path, pyramid())
    with open_slide(path, reader="openslide") as slide:
        whole = slide.read(Box.of_shape(slide.level_shapes[2]), 2)
        box = Box(y, x, y + height, x + width)
        if box.overlaps(Box.of_shape(slide.level_shapes[2])):
            box = box.clip(Box.of_shape(slide.level_shapes[2]))
            assert np.array_equal(slide.read(box, 2), whole[box.slices])


class TestOpening:
    def test_auto_prefers_openslide_and_falls_back(self, folder):
        assert open_slide(folder / "pyramid.tif").reader == "openslide"
        assert open_slide(folder / "plain.png").reader == "image"
        tifffile.imwrite(folder / "strips.ome.tif", random_pixels(), photometric="rgb", metadata={"axes": "YXS"})
        assert open_slide(folder / "strips.ome.tif").reader == "image"
        tifffile.imwrite(folder / "zlib.ome.tif", random_pixels(), photometric="rgb", tile=(128, 128))
        assert open_slide(folder / "zlib.ome.tif").reader == "tiff"

    def test_missing_empty_directory_and_garbage_are_one_line(self, folder):
        (folder / "empty.svs").write_bytes(b"")
        (folder / "garbage.svs").write_bytes(b"no slide at all" * 99)
        for name, hint in (("none.svs", "no such file"), (".", "directory"), ("empty.svs", "empty")):
            with pytest.raises(SlideError, match=hint):
                open_slide(folder / name)
        with pytest.raises(SlideError, match=r"openslide: .*tiffslide: .*image: ") as caught:
            open_slide(folder / "garbage.svs")
        assert "\n" not in str(caught.value)

    def test_unknown_reader_lists_the_known(self, folder):
        with pytest.raises(ConfigError, match="auto, openslide, tiffslide, tiff, image"):
            open_slide(folder / "plain.png", reader="bioformats")

    @pytest.mark.parametrize("reader", READERS)
    def test_a_forced_reader_says_why_it_refuses(self, folder, reader):
        (folder / "noise.bin").write_bytes(bytes(range(256)) * 9)
        with pytest.raises(SlideError, match=r"noise\.bin: "):
            open_slide(folder / "noise.bin", reader=reader)


class TestResolution:
    def test_from_tags_header_and_user(self, tmp_path):
        tags = write_pyramid(tmp_path / "tags.tif", pyramid())
        aperio = write_pyramid(tmp_path / "aperio.svs", pyramid((1,)), per_cm=None, text=APERIO)
        for reader in ("openslide", "tiffslide", "tiff"):
            assert open_slide(tags, reader=reader).mpp == pytest.approx(0.25)
            assert open_slide(aperio, reader=reader).mpp == 0.25
            assert open_slide(aperio, reader=reader).header.objective_power == 40
        assert open_slide(aperio, reader="image").mpp == 0.25
        assert open_slide(tags, mpp=0.5).mpp == 0.5
        assert open_slide(tags, mpp=0.5).file_mpp == pytest.approx(0.25)

    def test_from_ome(self, tmp_path):
        path = tmp_path / "slide.ome.tif"
        size = {"PhysicalSizeX": 230, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.23, "PhysicalSizeYUnit": "µm"}
        tifffile.imwrite(path, random_pixels(), photometric="rgb", metadata={"axes": "YXS", **size})
        for reader in ("tiffslide", "tiff", "image"):
            assert open_slide(path, reader=reader).mpp == pytest.approx(0.23)
        pixels = '<OME><Image><Pixels PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"/></Image></OME>'
        assert mpp_from_ome(pixels) is None
        assert mpp_from_ome("<OME><Image/></OME>") is None
        assert mpp_from_ome("no xml") is None

    def test_a_photo_has_none_whatever_its_dpi(self, tmp_path):
        for name, dpi in (("a.png", 300), ("b.jpg", 72), ("c.png", 96_000)):
            Image.fromarray(random_pixels()).save(tmp_path / name, dpi=(dpi, dpi))
            with pytest.raises(MppError, match=rf"{name} .*--mpp"):
                open_slide(tmp_path / name).mpp

    def test_print_resolution_in_a_tiff_is_absurd(self, tmp_path):
        path = write_pyramid(tmp_path / "print.tif", pyramid((1,)), per_cm=300 / 2.54)
        for reader in ("openslide", "tiffslide", "tiff"):
            with pytest.raises(MppError, match=r"84\.6.*print resolution.*--mpp"):
                open_slide(path, reader=reader).mpp

    def test_oblong_pixels_are_refused_and_rounding_is_not(self):
        assert resolve_mpp((0.25, 0.26), "tags", "s") == pytest.approx(np.sqrt(0.25 * 0.26))
        with pytest.raises(MppError, match="square"):
            resolve_mpp((0.25, 0.27), "tags", "s")

    @pytest.mark.parametrize("mpp", [0.0, -1.0, 40.0, float("nan")])
    def test_absurd_wishes_are_refused(self, folder, mpp):
        with pytest.raises(MppError, match="--mpp"):
            open_slide(folder / "plain.png", mpp=mpp)


class TestGeometry:
    @given(st.integers(1100, 200_000), st.integers(1100, 200_000), st.sampled_from([2, 4, 8, 16, 32]), st.booleans())
    def test_cut_or_padded_levels_are_whole_downsamples(self, height, width, factor, up):
        small = tuple(-(-n // factor) if up else max(1, n // factor) for n in (height, width))
        assert level_downsamples(((height, width), small))[1] == (factor, factor)

    def test_other_ratios_stay(self):
        assert level_downsamples(((1000, 1000), (400, 401)))[1] == pytest.approx((2.5, 1000 / 401))

    def test_bounds_need_all_four(self):
        properties = {
            f"openslide.bounds-{k}": v for k, v in (("x", "7"), ("y", "5"), ("width", "30"), ("height", "20"))
        }
        assert bounds_from_properties(properties, "openslide") == Box(5, 7, 25, 37)
        assert bounds_from_properties({**properties, "openslide.bounds-width": "0"}, "openslide") is None
        del properties["openslide.bounds-x"]
        assert bounds_from_properties(properties, "openslide") is None

    def test_origin_is_the_corner_of_the_bounds(self):
        assert ArraySlide(random_pixels(), bounds=Box(5, 7, 25, 37)).origin == (5, 7)
        assert ArraySlide(random_pixels()).origin == (0, 0)


class TestPlainImages:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
    def test_modes_become_rgb_on_white(self, tmp_path, mode):
        image = Image.fromarray(np.dstack([random_pixels(20, 30), random_pixels(20, 30)[..., 0]])).convert(mode)
        image.save(tmp_path / "a.png")
        white = Image.new("RGBA", image.size, "white")
        expected = np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
        assert np.array_equal(open_slide(tmp_path / "a.png").read(Box(0, 0, 20, 30)), expected)

    @pytest.mark.parametrize("kind", ["grey", "alpha", "planar"])
    def test_tiff_kinds(self, tmp_path, kind):
        rgb = random_pixels(40, 50)
        if kind == "grey":
            expected = np.repeat(rgb[..., :1], 3, axis=2)
            tifffile.imwrite(tmp_path / "a.tif", rgb[..., 0], photometric="minisblack")
        elif kind == "alpha":
            expected = np.where(np.arange(50)[None, :, None] < 25, rgb, 255)
            alpha = np.where(np.arange(50) < 25, 255, 0)[None, :, None] * np.ones((40, 1, 1))
            data = np.concatenate([rgb, alpha], axis=2).astype(np.uint8)
            tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["unassalpha"])
        else:
            expected = rgb
            tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate")
        slide = open_slide(tmp_path / "a.tif")
        assert slide.reader == "image"
        assert np.array_equal(slide.read(Box(0, 0, 40, 50)), expected)

    def test_other_depths_and_stacks_are_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "32.tif", random_pixels().astype(np.float32), photometric="rgb")
        tifffile.imwrite(tmp_path / "stack.tif", np.stack([random_pixels()] * 3), photometric="rgb")
        for name, hint in (("32.tif", "32-bit floating point"), ("stack.tif", "stack of 3")):
            with pytest.raises(SlideError, match=hint):
                open_slide(tmp_path / name)

    def test_a_large_honest_image_opens_and_a_monstrous_one_does_not(self, tmp_path, monkeypatch):
        Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
        assert open_slide(tmp_path / "large.png", mpp=0.25).level_shapes == ((20_000, 20_000),)
        monkeypatch.setattr("wsinuc.slides.image.MAX_PIXELS", 399_999_999)
        with pytest.raises(SlideError, match="pyramidal"):
            ImageSlide(tmp_path / "large.png")

    def test_a_truncated_image_is_a_slide_error(self, tmp_path):
        Image.fromarray(random_pixels()).save(tmp_path / "a.png")
        (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200_000])
        with pytest.raises(SlideError, match=r"cut\.png"):
            open_slide(tmp_path / "cut.png").read(Box(0, 0, 5, 5))
        for progressive in (False, True):
            thumbnail = b"Exif\0\0" + (b"\xff\xd8" + bytes(99) + b"\xff\xd9")  # ends as an image does
            Image.fromarray(random_pixels()).save(tmp_path / "a.jpg", progressive=progressive, exif=thumbnail)
            data = (tmp_path / "a.jpg").read_bytes()
            for share in (0.3, 0.9, 0.9999):
                (tmp_path / "cut.jpg").write_bytes(data[: int(len(data) * share)])
                with pytest.raises(SlideError, match=r"cut\.jpg.*end of the JPEG"):
                    open_slide(tmp_path / "cut.jpg").read(Box(0, 0, 5, 5))

    def test_arrays_are_checked(self):
        with pytest.raises(DataError, match="uint8"):
            ArraySlide(np.zeros((5, 5)))
        with pytest.raises(DataError, match="start with 1"):
            ArraySlide(random_pixels(), level_downsamples=(2, 4))


@needs_shared
class TestDamage:
    @pytest.mark.parametrize("reader", ["openslide", "tiffslide", "tiff"])
    def test_pixels_that_cannot_be_decoded(self, reader):
        slide = open_slide(SHARED_SLIDES / "unreadable.svs", reader=reader)
        assert slide.mpp == 0.499
        with pytest.raises(ReadError, match="damaged"):
            slide.read(Box(0, 0, 16, 16), 0)

    @pytest.mark.parametrize("share", [0.001, 0.1, 0.4, 0.6])
    def test_a_truncated_slide_is_refused_or_fails_by_region(self, tmp_path, share):
        with pytest.raises(SlideError, match=r"cut\.svs") as caught:  # on opening, or on reading what is cut off
            whole_level(open_slide(truncate(tmp_path / "cut.svs", share)))
        assert "\n" not in str(caught.value)

    def test_a_slide_that_lost_only_its_associated_images_is_fine(self, tmp_path):
        slide = open_slide(truncate(tmp_path / "cut.svs", 0.9))
        assert np.array_equal(whole_level(slide), whole_level(open_slide(SHARED_SLIDES / "CMU-1-Small-Region.svs")))

    def test_an_intact_region_reads_after_a_failure_also_from_other_threads(self, tmp_path):
        path = spoil(tmp_path / "spoilt.svs")
        good, intact = open_slide(SHARED_SLIDES / "CMU-1-Small-Region.svs"), Box(0, 0, 240, 240)
        expected = good.read(intact, 0)
        slide, stop = open_slide(path), threading.Event()

        def fail_on() -> None:
            while not stop.is_set():
                with pytest.raises(ReadError):
                    whole_level(slide)

        with ThreadPoolExecutor(1) as pool:
            failing = pool.submit(fail_on)
            outcomes = [read_or_none(slide, intact) for _ in range(200)]
            stop.set()
            failing.result()
        assert sum(pixels is not None for pixels in outcomes) > 0
        assert all(np.array_equal(pixels, expected) for pixels in outcomes if pixels is not None)
        assert np.array_equal(slide.read(intact, 0), expected)


def whole_level(slide):
    return slide.read(Box.of_shape(slide.level_shapes[0]), 0)


def read_or_none(slide, box):
    try:
        return slide.read(box, 0)
    except ReadError:
        return None


def test_a_level_that_is_squeezed_is_not_read(tmp_path):
    """OpenSlide takes any tiled image of a TIFF that is marked as smaller for a level."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for number, shape in enumerate([(700, 900), (350, 300)]):
            pixels = np.full((*shape, 3), 235, np.uint8)
            tiff.write(pixels, photometric="rgb", tile=(128, 128), subfiletype=min(number, 1))
    with open_slide(path, reader="openslide", mpp=0.5) as slide:
        assert slide.level_shapes == ((700, 900), (350, 300))
        view = slide.at(2.0)
        assert (view.level, view.downsample) == (0, (4.0, 4.0))
        assert slide.thumbnail(90).shape == (70, 90, 3)
