"""Outlines of models, corrected by people's points (`examples/pointed_tissue.py`)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cc3d
import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))
import pointed_tissue

SIDE = 120


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) <= radius


def corrected(scores: np.ndarray, points: list[tuple[float, float]]):
    """With a model whose nuclei are the connected pieces of its foreground."""
    model = SimpleNamespace(
        separate=lambda said: cc3d.connected_components(said[0] > 127, connectivity=4).astype(np.int32)
    )
    return pointed_tissue.outlined(scores, np.array(points, float).reshape(-1, 2), model)


def scores_of(*discs: np.ndarray, faint: np.ndarray | None = None) -> np.ndarray:
    scores = np.zeros((2, SIDE, SIDE), np.uint8)
    for each in discs:
        scores[0][each] = 255
        scores[1][each] = 200
    if faint is not None:
        scores[0][faint] = 90
    return scores


def test_a_nucleus_with_one_point_stays_as_it_is():
    nucleus = disc(40, 40, 12)
    known = corrected(scores_of(nucleus), [(44, 38)])
    assert np.array_equal(known.labels > 0, nucleus)
    assert not known.ignore.any()


def test_a_nucleus_with_two_points_is_cut_between_them():
    scores = scores_of(disc(40, 34, 12), disc(40, 54, 12))
    scores[1] = (10 * ndimage.distance_transform_edt(scores[0])).astype(np.uint8)
    known = corrected(scores, [(40, 34), (40, 54)])
    assert len(np.unique(known.labels)) == 3
    assert known.labels[40, 34] != known.labels[40, 54]
    assert np.array_equal(known.labels > 0, scores[0] > 127)


def test_a_nucleus_without_a_point_is_ignored():
    known = corrected(scores_of(disc(40, 40, 12), disc(90, 90, 12)), [(40, 40)])
    assert np.array_equal(known.ignore, disc(90, 90, 12))
    assert not known.labels[disc(90, 90, 12)].any()


def test_a_point_near_a_nucleus_is_its_own():
    known = corrected(scores_of(disc(40, 40, 12)), [(40, 56)])
    assert np.array_equal(known.labels > 0, disc(40, 40, 12))


def test_a_faint_nucleus_at_a_point_is_drawn_and_no_other():
    faint = disc(40, 40, 10) | disc(90, 90, 10)
    known = corrected(scores_of(faint=faint), [(40, 40)])
    inner = disc(40, 40, 7)
    assert known.labels[inner].all()
    assert not known.labels[disc(90, 90, 10)].any()


def test_the_surroundings_of_a_point_without_a_nucleus_are_ignored():
    known = corrected(scores_of(), [(3, 60)])
    assert not known.labels.any()
    assert np.array_equal(known.ignore, disc(3, 60, 12))
