"""No tissue is missed, glass is left out, users' masks land where they were drawn."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.files.annotations import outlines_of
from helpers.files.slides import SHARED_SLIDES, needs_shared
from helpers.fragile import Fragile
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.tissue import Region, TissueMask, find_tissue, load_region, load_tissue, whole
from wsinuc.tissue.find import clean_mask

STROMA, PALE, GLASS = (200, 140, 180), (226, 215, 223), 243
TNBC = SHARED_SLIDES.parent / "tnbc" / "images"


def glass(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(GLASS, 3, (height, width, 3)).clip(0, 255).astype(np.uint8)


def noisy(colour: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).normal(colour, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)


def view_of(pixels: np.ndarray, mpp: float = 0.5):
    return ArraySlide(pixels, mpp=mpp).at(0.5)


class TestFinding:
    @pytest.mark.parametrize("colour", [STROMA, PALE])
    def test_islands_are_found_whole_and_glass_is_not(self, colour):
        pixels = glass(2000, 3000)
        islands = [Box(200, 300, 700, 900), Box(1500, 2400, 1700, 2650)]
        for box in islands:
            pixels[box.slices] = noisy(colour, *box.shape)
        tissue = find_tissue(view_of(pixels))
        assert all(tissue.share(box) == pytest.approx(1.0) for box in islands)
        assert all(tissue.share(box.grow(60)) > 0.99 for box in islands)  # 30 um around belongs to it
        assert not tissue.touches(Box(0, 1200, 2000, 2200))
        assert tissue.area_px() < 2.2 * sum(box.shape[0] * box.shape[1] for box in islands)

    def test_a_slide_of_glass_is_empty(self):
        for pixels in (glass(1200, 1600), np.full((900, 900, 3), 255, np.uint8), np.full((900, 900, 3), 236, np.uint8)):
            tissue = find_tissue(view_of(pixels))
            assert not tissue.mask.any()
            assert tissue.area_px() == 0

    @pytest.mark.parametrize("colour", [STROMA, PALE, (90, 40, 120)])
    def test_a_crop_without_glass_is_all_tissue(self, colour):
        tissue = find_tissue(view_of(noisy(colour, 600, 600)))
        assert tissue.mask.all()

    def test_grey_padding_of_another_white_does_not_hide_the_glass(self):
        pixels = glass(1200, 2400)
        pixels[:, 1200:] = 255  # outside the scan
        pixels[400:800, 300:700] = STROMA
        tissue = find_tissue(view_of(pixels))
        assert tissue.share(Box(400, 300, 800, 700)) == pytest.approx(1.0)
        assert not tissue.touches(Box(0, 1000, 1200, 2400))

    def test_dust_goes_and_gaps_are_closed(self):
        mask = np.zeros((100, 100), np.bool_)
        mask[10:14, 10:14] = True  # 32 um
        mask[50:80, 50:80] = True
        mask[60:70, 60:70] = False  # 80 um
        cleaned = clean_mask(mask, 8.0)
        assert not cleaned[:30, :30].any()
        assert cleaned[46:84, 50:80].all()

    def test_what_cannot_be_read_counts_as_tissue(self):
        slide = Fragile(glass(1000, 1000), mpp=0.5)
        tissue = find_tissue(slide.at(0.5))
        assert tissue.touches(Fragile.spot)
        assert tissue.share(Box(0, 0, 1000, 1000)) < 0.5

    def test_resolution_of_the_view_does_not_move_tissue(self):
        pixels = glass(2000, 2000)
        pixels[500:900, 300:1300] = STROMA
        slide = ArraySlide(pixels, mpp=0.25, level_downsamples=(1, 4))
        fine, coarse = find_tissue(slide.at(0.25)), find_tissue(slide.at(1.0))
        assert np.array_equal(fine.mask, coarse.mask)
        assert fine.share(Box(500, 300, 900, 1300)) == pytest.approx(1.0) == coarse.share(Box(125, 75, 225, 325))

    @needs_shared
    def test_real_images(self):
        tissue = find_tissue(open_slide(SHARED_SLIDES / "CMU-1-Small-Region.svs").at(0.5))
        assert 0.45 < tissue.share(Box(0, 0, 2967, 2220)) < 0.6
        assert tissue.share(Box(1200, 1100, 2900, 1300)) == pytest.approx(1.0)  # dermis
        assert not tissue.touches(Box(1300, 0, 2900, 400))  # glass
        for path in sorted(TNBC.glob("*.png"))[::5]:
            assert find_tissue(open_slide(path, mpp=0.25).at(0.25)).mask.mean() > 0.99, path.name


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 50), st.integers(1, 50), st.data())
@settings(max_examples=200, deadline=None)
def test_mask_questions_agree_with_a_mask_at_full_resolution(rows, columns, height, width, data):
    """``share`` and ``touches`` against painting every view pixel at rows x columns times the resolution."""
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns)))
    tissue = TissueMask(mask.reshape(rows, columns), (height, width))
    painted = np.repeat(np.repeat(tissue.mask, height, axis=0), width, axis=1)  # rows * height by columns * width
    y0, x0 = data.draw(st.integers(-3, height + 2)), data.draw(st.integers(-3, width + 2))
    box = Box(y0, x0, data.draw(st.integers(y0 + 1, height + 3)), data.draw(st.integers(x0 + 1, width + 3)))
    crop = painted[max(0, y0) * rows : max(0, box.y1) * rows, max(0, x0) * columns : max(0, box.x1) * columns]
    assert tissue.touches(box) == bool(crop.any())
    assert tissue.share(box) == pytest.approx(crop.sum() / (rows * columns * box.shape[0] * box.shape[1]))
    assert tissue.area_px() == pytest.approx(painted.sum() / (rows * columns))


def test_whole_is_everything():
    view = view_of(glass(50, 70))
    assert whole(view).touches(Box(49, 69, 50, 70))
    assert whole(view).area_px() == 50 * 70
    assert whole(view).share(Box(0, 0, 50, 140)) == 0.5


def feature(*rings: list[tuple[float, float]]) -> dict:
    return {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [list(r) for r in rings]},
    }


def square(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


def write(path: Path, content: object) -> Path:
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


WITH_HOLE = feature(square(100, 200, 500, 400), square(200, 250, 300, 350))


class TestRegion:
    @pytest.mark.parametrize("form", ["collection", "list", "feature", "geometry", "multi", "gz", "bom"])
    def test_every_form_that_qupath_writes(self, tmp_path, form):
        multi = {"type": "MultiPolygon", "coordinates": [WITH_HOLE["geometry"]["coordinates"]]}
        content = {
            "collection": {"type": "FeatureCollection", "features": [WITH_HOLE]},
            "list": [
                WITH_HOLE,
                {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [0, 0]}},
            ],
            "geometry": WITH_HOLE["geometry"],
            "multi": {"type": "Feature", "properties": {}, "geometry": multi},
        }.get(form, WITH_HOLE)
        path = write(tmp_path / ("roi.geojson.gz" if form == "gz" else "roi.geojson"), content)
        if form == "bom":
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        inside = load_region(path).contains(np.array([[210.0, 110.0], [300.0, 250.0], [110.0, 210.0], [390.0, 499.0]]))
        assert inside.tolist() == [True, False, False, True]

    def test_overlapping_and_self_crossing_polygons_unite(self, tmp_path):
        bow = feature([(0, 0), (100, 100), (100, 0), (0, 100), (0, 0)])
        region = load_region(
            write(tmp_path / "a.geojson", [bow, feature(square(50, 0, 90, 100)), feature(square(60, 0, 99, 9))])
        )
        assert region.contains(np.array([[50.0, 20.0], [5.0, 70.0], [5.0, 50.0], [50.0, 80.0]])).tolist() == [
            True,
            True,
            False,
            True,
        ]

    @pytest.mark.parametrize(
        ("content", "hint"),
        [
            (b"", "cannot parse"),
            (b"{", "cannot parse"),
            (b"\x89PNG\xff", "cannot parse"),
            (b"[1, 2]", "no polygon"),
            (b'{"type": "FeatureCollection", "features": []}', "no polygon"),
            (b'{"type": "Point", "coordinates": [1, 2]}', "no polygon"),
            (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "no polygon"),
            (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}', "no polygon"),
            (b'{"type": "Polygon", "coordinates": "here"}', "cannot parse"),
            (b'{"type": "FeatureCollection"}', "no polygon"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path, content, hint):
        (tmp_path / "bad.geojson").write_bytes(content)
        with pytest.raises(DataError, match=hint) as caught:
            load_region(tmp_path / "bad.geojson")
        assert "\n" not in str(caught.value)

    def test_missing_file_and_damaged_archive(self, tmp_path):
        with pytest.raises(DataError, match="no such file"):
            load_region(tmp_path / "none.geojson")
        (tmp_path / "bad.geojson.gz").write_bytes(b"not gzip")
        with pytest.raises(DataError, match="cannot read"):
            load_region(tmp_path / "bad.geojson.gz")

    def test_outside_the_slide_is_an_error(self, tmp_path):
        region = load_region(write(tmp_path / "far.geojson", feature(square(9000, 9000, 9100, 9100))))
        with pytest.raises(DataError, match="outside the slide of 700 x 500"):
            region.to_mask(view_of(glass(500, 700)))

    @given(
        st.floats(0, 680),
        st.floats(0, 480),
        st.floats(0.01, 400),
        st.floats(0.01, 400),
        st.floats(0, 3.1),
        st.sampled_from([0.25, 0.5, 0.9]),
    )
    @settings(max_examples=60, deadline=None)
    def test_mask_is_every_cell_that_the_region_touches(self, x, y, width, height, angle, mpp):
        shape = shapely.affinity.rotate(
            shapely.box(x, y, x + width, y + height), angle, use_radians=True, origin=(x, y)
        )
        shape = shapely.union(shape, shapely.box(x, y, x + 1, y + 1))
        view = ArraySlide(glass(500, 700), mpp=0.25).at(mpp)
        mask = Region(outlines_of(shape), "roi").to_mask(view).mask
        step_y, step_x = (n * d / m for n, d, m in zip(view.shape, view.downsample, mask.shape, strict=True))
        rows, columns = np.indices(mask.shape)
        cells = shapely.box(columns * step_x, rows * step_y, (columns + 1) * step_x, (rows + 1) * step_y)
        area = shapely.area(shapely.intersection(shape, cells))
        assert mask[area > 1e-6].all()
        assert not mask[shapely.distance(shape, cells) > 1e-6].any()


class TestLoading:
    def test_an_image_of_any_size_covers_the_slide(self, tmp_path):
        view = view_of(glass(400, 800))
        for name, shape in (("a.png", (400, 800)), ("b.png", (20, 40)), ("c.png", (7, 14))):
            mask = np.zeros(shape, np.uint8)
            mask[:, shape[1] // 2 :] = 1
            Image.fromarray(mask).save(tmp_path / name)
            tissue = load_tissue(tmp_path / name, view)
            assert not tissue.touches(Box(0, 0, 400, 400))
            assert tissue.share(Box(0, 400, 400, 800)) == pytest.approx(1.0)

    @pytest.mark.parametrize("mode", ["1", "L", "I;16", "P", "RGB", "RGBA", "LA"])
    def test_modes(self, tmp_path, mode):
        grey = np.zeros((20, 40), np.uint16 if mode == "I;16" else np.uint8)
        grey[:10] = 255
        image = Image.fromarray(grey)
        (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "m.png")
        tissue = load_tissue(tmp_path / "m.png", view_of(glass(400, 800)))
        assert tissue.share(Box(0, 0, 200, 800)) == pytest.approx(1.0)
        assert not tissue.touches(Box(200, 0, 400, 800))

    def test_polygons(self, tmp_path):
        view = ArraySlide(glass(600, 800), mpp=0.25).at(0.5)
        tissue = load_tissue(write(tmp_path / "t.json", [WITH_HOLE]), view)
        assert tissue.share(Box(101, 51, 199, 99)) == pytest.approx(1.0)
        assert not tissue.touches(Box(145, 120, 160, 130))  # the hole
        assert tissue.area_px() == pytest.approx((400 * 200 - 100 * 100) / 4, rel=0.5)

    def test_polygons_drawn_in_qupath_count_from_the_bounds(self, tmp_path):
        view = ArraySlide(glass(600, 800), mpp=0.5, bounds=Box(50, 100, 600, 800)).at(0.5)
        path = write(tmp_path / "t.geojson", feature(square(0, 0, 200, 100)))
        tissue = load_tissue(path, view)
        assert tissue.share(Box(50, 100, 150, 300)) == pytest.approx(1.0)
        assert not tissue.touches(Box(0, 0, 30, 80))
        region = load_region(path, origin_yx=view.slide.origin)
        assert region.contains(np.array([[51.0, 101.0], [10.0, 10.0]])).tolist() == [True, False]

    def test_errors(self, tmp_path):
        view = view_of(glass(400, 800))
        Image.new("L", (40, 40)).save(tmp_path / "square.png")
        (tmp_path / "text.png").write_text("no image")
        for name, hint in (("none.png", "no such"), ("square.png", "same"), ("text.png", "cannot read")):
            with pytest.raises(DataError, match=hint):
                load_tissue(tmp_path / name, view)
