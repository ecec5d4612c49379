"""What is no tissue is left out by what it is, and no tissue with it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.files.slides import SHARED_SLIDES, needs_shared
from helpers.odd.tissue import (
    GLASS,
    INKS,
    MPP,
    SLIDE,
    bubble,
    glass,
    half_tissue,
    out_of_focus,
    padded,
    spots,
    stroke,
    tissue,
    transparent_png,
)
from helpers.oracle import OracleSegmenter, plane
from helpers.runs import config, run
from wsinuc.config import SegmentConfig
from wsinuc.exports.pictures.left_out import hatch_left_out
from wsinuc.grid import BlockGrid, Box
from wsinuc.nuclei import concatenate
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.search import needs_work
from wsinuc.pipeline.selection import TissueSelection, select
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.store import iter_nuclei
from wsinuc.tissue import TissueMask, find_tissue, whole
from wsinuc.tissue.find import classify
from wsinuc.tissue.kinds import Kind, densities, flat
from wsinuc.workflows.segment.run import plan_segment
from wsinuc_cli.main import main

LEFT, RIGHT = Box(0, 0, 1200, 1200), Box(0, 1200, 1200, 2400)  # of half_tissue


def found(pixels: np.ndarray, mpp: float = MPP) -> TissueMask:
    return find_tissue(ArraySlide(pixels, mpp=mpp).at(MPP))


def kinds_in(mask: TissueMask, box: Box) -> np.ndarray:
    """Kinds of the cells that lie wholly in a box of the view."""
    assert mask.kinds is not None
    rows, columns = (mask.kinds.shape[axis] / mask.shape[axis] for axis in (0, 1))
    return mask.kinds[
        int(np.ceil(box.y0 * rows)) : int(box.y1 * rows), int(np.ceil(box.x0 * columns)) : int(box.x1 * columns)
    ]


def share(mask: TissueMask, box: Box, kind: Kind) -> float:
    return float((kinds_in(mask, box) == kind).mean())


class TestPen:
    @pytest.mark.parametrize("ink", INKS)
    def test_a_stroke_on_glass_is_left_out_whole_and_the_tissue_beside_it_is_not(self, ink):
        mask = found(stroke(half_tissue(), ink, Box(0, 1700, 1200, 2100)))
        assert share(mask, Box(0, 1660, 1200, 2140), Kind.PEN) > 0.99
        assert share(mask, LEFT, Kind.PEN) == 0.0
        assert share(mask, LEFT, Kind.TISSUE) == share(found(half_tissue()), LEFT, Kind.TISSUE)
        assert not mask.touches(Box(0, 1660, 1200, 2140))

    @pytest.mark.parametrize("ink", INKS)
    def test_a_stroke_alone_leaves_nothing_to_look_at(self, ink):
        mask = found(stroke(glass(), ink, Box(300, 0, 800, 1200)))
        assert not mask.mask.any()

    def test_a_stroke_over_tissue_is_left_out_in_its_middle(self):
        mask = found(stroke(half_tissue(), "green", Box(0, 300, 1200, 700)))
        assert share(mask, Box(0, 400, 1200, 600), Kind.PEN) > 0.85
        assert share(mask, Box(0, 900, 1200, 1200), Kind.PEN) == 0.0

    def test_small_and_thin_lines_of_green_and_blue(self):
        for ink in ("green", "blue"):
            mask = found(stroke(glass(), ink, Box(200, 500, 1000, 540), softness_px=2))
            assert not mask.mask.any()
            assert share(mask, Box(240, 504, 960, 536), Kind.PEN) > 0.99


class TestTissueIsKept:
    @pytest.mark.parametrize(
        ("name", "colour", "ground", "part"),
        [
            ("crowded lymphocytes", (45, 25, 75), (190, 150, 190), 0.8),
            ("melanin", (70, 45, 30), (200, 150, 180), 0.5),
            ("anthracosis", (15, 15, 15), (190, 130, 170), 0.3),
            ("blood", (190, 60, 96), (200, 72, 108), 0.6),
            ("haematoxylin alone", (95, 105, 165), (215, 220, 232), 0.3),
            ("necrosis", (232, 120, 170), (230, 128, 175), 0.5),
            ("pale stroma", (224, 205, 218), (232, 220, 230), 0.4),
            ("keratin", (235, 150, 140), (240, 185, 170), 0.5),
        ],
    )
    @pytest.mark.parametrize("with_glass", [True, False])
    def test_whatever_its_colour(self, name, colour, ground, part, with_glass):
        pixels = spots(colour, ground, part)
        mask = found(np.concatenate([pixels, glass()], axis=1) if with_glass else pixels)
        assert share(mask, LEFT, Kind.TISSUE) == 1.0, name

    @pytest.mark.parametrize("mpp", [0.25, 0.5])
    def test_real_tissue_has_nothing_but_tissue_and_glass(self, mpp):
        mask = found(tissue(), mpp)
        left_out = mask.left_out()
        assert sum(left_out[kind] for kind in ("black", "pen", "blurred", "blank")) == 0.0
        assert left_out["grey"] < 0.002

    def test_the_ink_of_a_cut_margin_is_no_stroke(self):
        """The example slide has green grains on the edge of its tissue, with nuclei between them."""
        with open_slide(SLIDE) as slide:
            assert find_tissue(slide.at(MPP)).left_out()["pen"] == 0.0

    def test_bright_and_dim_lamps_make_no_difference(self):
        pixels = stroke(half_tissue(), "red", Box(0, 1700, 1200, 2100))
        dim = (pixels * 0.92).round().astype(np.uint8)
        one, other = found(pixels), found(dim)
        assert (one.kinds == other.kinds).mean() > 0.99

    @needs_shared
    @pytest.mark.parametrize(("folder", "mpp"), [("tnbc", 0.25), ("monuseg2018_train", 0.25), ("nuinsseg", 0.2)])
    def test_annotated_images_are_looked_at_everywhere(self, folder, mpp):
        for path in sorted((SHARED_SLIDES.parent / folder / "images").iterdir())[::40]:
            with open_slide(path, mpp=mpp) as slide:
                assert find_tissue(slide.at(0.5)).mask.mean() > 0.995, path.name


class TestPadding:
    def test_black_padding_is_as_white(self):
        pixels = half_tissue()
        black, white = found(padded(pixels, 0)), found(padded(pixels, 255))
        assert black.area_px() == pytest.approx(white.area_px(), rel=0.03)
        assert black.left_out()["black"] == pytest.approx(white.left_out()["blank"], rel=0.03)
        assert white.left_out()["black"] == 0.0

    @pytest.mark.parametrize("level", [60, 90, 128, 200])
    @pytest.mark.parametrize("with_glass", [True, False])
    def test_flat_grey_padding_is_neither_tissue_nor_pen(self, level, with_glass):
        pixels = half_tissue() if with_glass else tissue()
        mask, white = found(padded(pixels, level)), found(padded(pixels, 255))
        assert mask.area_px() == pytest.approx(white.area_px(), rel=0.03)
        assert mask.left_out()["grey"] == pytest.approx(white.left_out()["blank"], rel=0.03)
        assert mask.left_out()["pen"] == 0.0
        assert not mask.touches(Box(0, 0, 300, 2000))

    def test_grey_with_texture_and_small_flat_spots_are_not_flat(self):
        cells = np.full((60, 60, 3), 128, np.uint8)
        assert flat(cells, 8.0).all()
        small = np.random.default_rng(0).integers(126, 131, cells.shape).astype(np.uint8)
        assert not flat(small, 8.0).any()
        small[20:32, 20:32] = 128  # 96 um a side
        assert not flat(small, 8.0).any()
        small[20:33, 20:33] = 128
        np.testing.assert_array_equal(np.argwhere(flat(small, 8.0))[[0, -1]], [[20, 20], [32, 32]])

    def test_flat_areas_of_a_colour_or_as_bright_as_glass_are_no_padding(self):
        pixels = half_tissue()
        pixels[200:800, 200:800] = (200, 140, 180)
        pixels[200:800, 1600:2200] = GLASS
        mask = found(pixels)
        assert share(mask, Box(200, 200, 800, 800), Kind.TISSUE) == 1.0
        assert share(mask, Box(200, 1600, 800, 2200), Kind.GLASS) == 1.0

    def test_padding_is_read_as_white_and_dark_nuclei_are_not(self):
        pixels = half_tissue()
        pixels[600:620, 300:320] = 5  # a grain of pigment, far from the padding
        mask, box = found(padded(pixels, 0)), Box(0, 0, 2000, 3200)
        read = mask.without_padding(padded(pixels, 0), box)
        different = (read != padded(pixels, 255)).any(axis=2)
        assert not different[1000:1020, 700:720].any()
        assert not different[:400].any()
        assert different.mean() < 1e-4  # the darkest pixels of tissue that the edge cuts
        part = Box(350, 370, 900, 1300)
        np.testing.assert_array_equal(mask.without_padding(padded(pixels, 0)[part.slices], part), read[part.slices])

    def test_a_slide_without_padding_is_read_as_it_is(self):
        pixels = half_tissue()
        assert found(pixels).without_padding(pixels, Box(0, 0, 1200, 2400)) is pixels

    def test_transparent_parts_are_blank(self, tmp_path):
        path = transparent_png(tmp_path / "a.png", half_tissue(), Box(0, 1400, 1200, 2400))
        with open_slide(path, mpp=MPP) as slide:
            mask = find_tissue(slide.at(MPP))
        assert share(mask, Box(0, 1450, 1200, 2400), Kind.BLANK) == 1.0
        assert share(mask, Box(0, 1450, 1200, 2400), Kind.TISSUE) == 0.0


class TestShadows:
    def test_a_bubble_is_grey(self):
        mask = found(bubble(half_tissue(), (600, 1850), 350))
        assert share(mask, Box(450, 1700, 750, 2000), Kind.GREY) == 1.0
        assert not mask.touches(Box(200, 1480, 1000, 2300))

    def test_a_line_of_the_scanner_is_no_tissue(self):
        pixels = half_tissue()
        pixels[:, 1800:1804] = 120
        mask = found(pixels)
        assert not mask.touches(Box(0, 1500, 1200, 2400))
        assert share(mask, Box(0, 1784, 1200, 1824), Kind.GREY) > 0.15


class TestFocus:
    def test_a_stripe_out_of_focus_is_left_out_and_the_rest_is_not(self):
        pixels = np.concatenate([tissue(), tissue()[::-1]], axis=0)
        stripe = Box(560, 0, 1700, 1200)
        mask = found(out_of_focus(pixels, stripe, 7.0))
        inside = kinds_in(mask, stripe)
        assert (inside[inside != Kind.GLASS] == Kind.BLURRED).mean() > 0.75
        assert share(mask, Box(0, 0, 440, 1200), Kind.BLURRED) == 0.0
        assert share(mask, Box(1820, 0, 2400, 1200), Kind.BLURRED) == 0.0

    @pytest.mark.parametrize("sigma_um", [0.0, 1.0, 2.0])
    def test_a_little_blur_is_not_left_out(self, sigma_um):
        assert found(out_of_focus(tissue(), LEFT, sigma_um)).left_out()["blurred"] == 0.0

    def test_a_soft_coarse_level_of_a_sharp_slide_is_not_left_out(self):
        """Some scanners blur their coarse levels; the fine look tells."""
        soft = SoftLevels(tissue(), mpp=MPP)
        assert find_tissue(soft.at(MPP)).left_out()["blurred"] == 0.0


class SoftLevels(ArraySlide):
    """An array whose level of 8 um per px is smeared."""

    def __init__(self, pixels: np.ndarray, *, mpp: float) -> None:
        super().__init__(pixels, mpp=mpp, level_downsamples=(1, 16))
        blurred = out_of_focus(pixels, Box.of_shape(pixels.shape[:2]), 8.0)
        self._soft = ArraySlide(blurred, mpp=mpp, level_downsamples=(1, 16))

    def _read_inside(self, box: Box, level: int) -> np.ndarray:
        return super()._read_inside(box, level) if level == 0 else self._soft._read_inside(box, level)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_mirrored_images_have_mirrored_kinds(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.choice(
        np.array([(242, 242, 242), (200, 140, 180), (60, 170, 150), (40, 40, 42), (225, 225, 225)]), (6, 5)
    )
    pixels = np.kron(coarse, np.ones((12, 12, 1))).astype(np.uint8)
    density = densities(pixels, (242.0, 242.0, 242.0))
    kinds = classify(density, 8.0, glass_seen=True)
    for axis in (0, 1):
        mirrored = classify(np.flip(density, axis), 8.0, glass_seen=True)
        np.testing.assert_array_equal(mirrored, np.flip(kinds, axis))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 60), st.integers(9, 60), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_a_nucleus_is_held_by_the_cell_of_its_pixel(rows, columns, height, width, seed):
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, (rows, columns)).astype(np.uint8)
    mask = TissueMask(kinds == Kind.TISSUE, (height, width), kinds)
    points = rng.uniform(0, 1, (50, 2)) * (height, width)
    expected = [mask.mask[int(y) * rows // height, int(x) * columns // width] for y, x in points]
    assert mask.holds(points).tolist() == expected


def test_block_sizes_do_not_change_what_is_kept():
    """A left-out strip through the middle of blocks and tiles: the same nuclei whatever the blocks."""
    view = ArraySlide(plane((500, 500)), mpp=MPP).at(MPP)
    kinds = np.full((31, 31), Kind.TISSUE, np.uint8)
    kinds[:, 9:14] = Kind.PEN
    kinds[20:23] = Kind.BLACK
    mask = TissueMask(kinds == Kind.TISSUE, view.shape, kinds)
    selection = TissueSelection(tissue=mask, wanted=mask, region=None, region_mask=None, reach=0)
    segmenter = OracleSegmenter()
    results = []
    for side in (64, 192, 512):
        parts = [
            process_block(view, block, segmenter, batch_size=4, tissue=selection, gate=threading.Lock()).nuclei
            for block in BlockGrid(view.shape, side, segmenter.min_halo)
            if needs_work(block, segmenter, selection)
        ]
        centroids = concatenate([selection.wanted_of(part) for part in parts]).centroids
        results.append({tuple(point) for point in centroids.tolist()})
    assert results[0] == results[1] == results[2]
    columns = np.array(sorted(results[0]))[:, 1].astype(int) * 31 // 500
    assert len(columns) > 100
    assert not np.isin(columns, range(9, 14)).any()


class TestWords:
    """What users ask for, and what they are told."""

    def test_none_looks_everywhere_and_a_mask_is_taken_at_its_word(self, tmp_path):
        view = ArraySlide(stroke(glass(), "green", Box(300, 0, 800, 1200)), mpp=MPP).at(MPP)
        Image.fromarray(np.full((60, 60), 255, np.uint8)).save(tmp_path / "mask.png")
        for asked in ("none", str(tmp_path / "mask.png")):
            selection = select(view, SegmentConfig(tissue=asked), reach=0)
            assert selection.touches(Box(500, 500, 510, 510))
            assert selection.tissue.left_out() == {}
            assert selection.tissue.holds(np.array([[550.0, 600.0]])).all()

    def test_the_summary_has_areas_and_shares(self, tmp_path):
        Image.fromarray(stroke(padded(half_tissue(), 0), "green", Box(500, 2100, 1500, 2500))).save(tmp_path / "a.png")
        summary = run(tmp_path / "a.png", tmp_path / "a.wsinuc", tissue="auto", mpp=MPP, block=1024)
        assert list(summary.left_out_share) == ["glass", "blank", "black", "pen", "grey", "blurred"]
        total = sum(summary.left_out_mm2.values()) + summary.tissue_mm2
        assert total == pytest.approx(summary.slide_mm2)
        assert 0.1 < summary.left_out_mm2["pen"] < 0.18  # the stroke of 0.5 by 0.2 mm, and its fringe
        assert summary.left_out_share["black"] == pytest.approx(1 - 1200 * 2400 / (2000 * 3200), rel=0.15)
        assert any("pen" in note and "--tissue none" in note for note in summary.notes)
        stored = json.loads((tmp_path / "a.wsinuc" / "summary.json").read_text())
        assert stored["left_out_mm2"] == summary.left_out_mm2
        mask = find_tissue(open_slide(tmp_path / "a.png", mpp=MPP).at(MPP))
        for part in iter_nuclei(tmp_path / "a.wsinuc"):
            assert mask.holds(part.centroids).all()

    def test_without_a_search_the_summary_has_none(self, tmp_path):
        Image.fromarray(glass(300, 300)).save(tmp_path / "a.png")
        plan = plan_segment(tmp_path / "a.png", tmp_path / "out", config(mpp=MPP), OracleSegmenter())
        assert plan.left_out_share == {}

    def test_a_dry_run_says_what_would_be_left_out(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Image.fromarray(padded(half_tissue(), 0)).save("a.png")
        shown = CliRunner().invoke(main, ["segment", "a.png", "--mpp", "0.5", "--dry-run"])
        assert shown.exit_code == 0, shown.output
        line = next(line for line in shown.output.splitlines() if "left out" in line)
        assert "black" in line
        assert "glass" in line
        assert "pen" not in line

    def test_the_preview_shows_where(self):
        kinds = np.full((50, 100), Kind.TISSUE, np.uint8)
        kinds[:, 60:] = Kind.PEN
        kinds[0, 0] = Kind.GREY  # a speck, not drawn
        mask = TissueMask(kinds == Kind.TISSUE, (800, 1600), kinds)
        white = Image.new("RGB", (400, 200), (255, 255, 255))
        drawn, legend = hatch_left_out(white, mask, mm2=0.32)
        changed = (np.asarray(drawn) != 255).any(axis=2)
        assert changed[:, 240:].all()
        assert not changed[:, :240].any()
        assert [entry.label for entry in legend] == ["pen 0.13 mm²"]
        assert hatch_left_out(white, whole(ArraySlide(glass(100, 100), mpp=MPP).at(MPP)), mm2=1.0) == (white, [])


def test_cases_of_black_padding_agree() -> None:
    case = Path(__file__).parents[3] / "shared" / "cases" / "black-padding"
    if not case.is_dir():
        pytest.skip("the shared cases are not here")
    areas = []
    for name in ("black-border.tif", "white-border.tif"):
        with open_slide(case / name) as slide:
            view = slide.at(MPP)
            areas.append(find_tissue(view).area_px() * (view.mpp / 1000) ** 2)
    assert areas[0] == pytest.approx(areas[1], rel=0.03)
