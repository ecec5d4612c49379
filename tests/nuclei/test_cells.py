"""Cells grown from nuclei: as scikit-image grows labels, without overlap, and the same whatever was read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.segmentation import expand_labels

from helpers.oracle import CLASSES, OracleSegmenter, plane, scores_of
from wsinuc.grid import Box
from wsinuc.labels import paint_outlines, ring_areas
from wsinuc.nuclei import Frame, Nuclei, concatenate, read_nuclei, write_nuclei
from wsinuc.nuclei.cells import Cytoplasm, grown_labels, with_cells
from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.measured_names import CELLS
from wsinuc.nuclei.stains import QUPATH, optical_density

MPP = 0.5
SHAPE = (400, 420)
REACH_UM = 5.0


def field() -> tuple[np.ndarray, Nuclei]:
    scores = scores_of(plane(SHAPE))
    labels = OracleSegmenter().separate(scores)
    return labels, measure(labels, scores, Box.of_shape(SHAPE), Frame(MPP, (1.0, 1.0)), CLASSES)


def of_labels(labels: np.ndarray) -> Nuclei:
    scores = np.zeros((4, *labels.shape), np.uint8)
    return measure(labels, scores, Box.of_shape(labels.shape), Frame(MPP, (1.0, 1.0)), CLASSES)


def painted(nuclei: Nuclei, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    assert nuclei.cell_outlines is not None
    assert nuclei.cell_offsets is not None
    return paint_outlines(nuclei.cell_outlines, nuclei.cell_offsets, nuclei.ids, Box.of_shape(shape))


@pytest.mark.parametrize("reach", [1.0, 4.5, 10.0])
def test_labels_grow_as_those_of_scikit_image(reach: float) -> None:
    labels, _ = field()
    ours = grown_labels(labels, reach)
    theirs = expand_labels(labels, reach)
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    # Where two labels are equally near, either is right.
    assert (ours != theirs).mean() < 0.01
    from scipy.ndimage import distance_transform_edt

    for y, x in np.argwhere(ours != theirs)[:40]:
        near = [distance_transform_edt(labels != label)[y, x] for label in (ours[y, x], theirs[y, x])]
        assert near[0] == near[1]


def test_cells_hold_their_nuclei_and_do_not_overlap() -> None:
    labels, nuclei = field()
    grown = with_cells(nuclei, [], REACH_UM, SHAPE)
    cells = painted(grown)
    np.testing.assert_array_equal(cells[labels > 0], labels[labels > 0])
    # Were one painted over another, pixels would be missing.
    areas = ring_areas(grown.cell_outlines, grown.cell_offsets)
    np.testing.assert_array_equal(np.bincount(cells.ravel())[1:], areas)
    np.testing.assert_array_equal(cells, np.where(cells > 0, grown_labels(labels, REACH_UM / MPP), 0))


def test_a_lone_nucleus_grows_by_the_reach() -> None:
    labels = np.zeros((80, 80), np.int32)
    labels[30:50, 30:50] = 1
    grown = with_cells(of_labels(labels), [], REACH_UM, labels.shape)
    measured = {name: float(values[0]) for name, values in grown.measurements.items()}
    # A square of 10 um, 5 um on each side, and at each corner the 69 pixels whose centres lie within 10 px.
    assert measured["cell_area_um2"] == 100 + 4 * 50 + 4 * 69 * MPP**2
    assert measured["nucleus_cell_area_ratio"] == pytest.approx(100 / measured["cell_area_um2"])
    assert measured["cell_max_diameter_um"] == pytest.approx(10 + np.hypot(10, 10), abs=1.0)
    assert set(measured) >= {each.name for each in CELLS}


def test_cells_end_where_the_slide_does() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[0:20, 10:30] = 1
    grown = with_cells(of_labels(labels), [], REACH_UM, labels.shape)
    assert grown.cell_outlines.min() == 0
    assert grown.cell_outlines.max(axis=0).tolist() == [30, 40]


def test_nuclei_of_others_hold_back_as_those_of_their_own() -> None:
    _, nuclei = field()
    whole = with_cells(nuclei, [], REACH_UM, SHAPE)
    is_left = nuclei.centroids[:, 1] < 200
    left = with_cells(nuclei.select(is_left), [nuclei.select(~is_left)], REACH_UM, SHAPE)
    right = with_cells(nuclei.select(~is_left), [nuclei.select(is_left)], REACH_UM, SHAPE)
    for part, rows in ((left, is_left), (right, ~is_left)):
        expected = whole.select(rows)
        np.testing.assert_array_equal(part.cell_outlines, expected.cell_outlines)
        np.testing.assert_array_equal(part.cell_offsets, expected.cell_offsets)
        for name, values in expected.measurements.items():
            assert part.measurements[name].tobytes() == values.tobytes(), name


def test_a_cell_that_would_close_around_another_stays_its_nucleus() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[10:50, 10:50] = 1
    labels[15:45, 15:45] = 0
    labels[10:15, 27:33] = 0  # a mouth of 3 um
    labels[28:32, 28:32] = 2
    nuclei = of_labels(labels)
    grown = with_cells(nuclei, [], REACH_UM, labels.shape)
    areas = ring_areas(grown.cell_outlines, grown.cell_offsets)
    assert areas[0] == nuclei.areas_px[0]
    assert areas[1] > 4 * nuclei.areas_px[1]


def test_a_hole_without_nuclei_is_filled() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[5:55, 5:55] = 1
    labels[10:50, 10:50] = 0
    labels[5:10, 27:33] = 0
    grown = with_cells(of_labels(labels), [], REACH_UM, labels.shape)
    cells = painted(grown, labels.shape)
    assert cells[30, 30] == 1


def test_cytoplasm_is_what_of_a_cell_is_no_nucleus() -> None:
    labels, nuclei = field()
    pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    reader = Cytoplasm(QUPATH, lambda box: pixels[box.slices])
    grown = with_cells(nuclei, [], REACH_UM, SHAPE, reader)
    cells = painted(grown)
    stains = np.array([QUPATH.haematoxylin, QUPATH.eosin])
    stains = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    rest = np.cross(*stains)
    density = optical_density(pixels) @ np.linalg.inv(np.stack([*stains, rest / np.linalg.norm(rest)]))
    for i in range(0, len(nuclei), 9):
        values = density[(cells == i + 1) & (labels != i + 1)]
        measured = {name: column[i] for name, column in grown.measurements.items()}
        assert measured["haematoxylin_cytoplasm_mean_od"] == pytest.approx(values[:, 0].mean(), abs=6e-4)
        assert measured["eosin_cytoplasm_std_od"] == pytest.approx(values[:, 1].std(), abs=6e-4)
        median = np.percentile(values[:, 1], 50, method="inverted_cdf")
        assert measured["eosin_cytoplasm_p50_od"] == pytest.approx(median, abs=6e-4)


def test_they_are_kept_through_the_table(tmp_path: Path) -> None:
    _, nuclei = field()
    grown = with_cells(nuclei, [], REACH_UM, SHAPE)
    halves = [grown.select(np.arange(0, 100)), grown.select(np.arange(100, len(grown)))]
    write_nuclei(concatenate(halves), tmp_path / "part.parquet")
    back = read_nuclei(tmp_path / "part.parquet")
    np.testing.assert_array_equal(back.cell_outlines, grown.cell_outlines)
    np.testing.assert_array_equal(back.cell_offsets, grown.cell_offsets)
    none = grown.select(np.zeros(len(grown), bool))
    write_nuclei(none, tmp_path / "none.parquet")
    assert len(read_nuclei(tmp_path / "none.parquet").cell_outlines) == 0
    assert read_nuclei_without_cells(nuclei, tmp_path).cell_outlines is None


def read_nuclei_without_cells(nuclei: Nuclei, folder: Path) -> Nuclei:
    write_nuclei(replace(nuclei), folder / "plain.parquet")
    return read_nuclei(folder / "plain.parquet")
