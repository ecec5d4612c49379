"""Point processes: known patterns come back with their statistics, on any canvas, from any generator state."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsinuc.errors import ConfigError, DataError
from wsinuc.synthesis import point_process
from wsinuc.synthesis.layouts import NucleusLayout
from wsinuc.synthesis.pair_correlation import Field, chance_of_distance, count_pairs, nearest_distances
from wsinuc.synthesis.point_process import PointProcess, fields_of

EDGES = np.arange(0, 25.0)
SIDE = 256
MPP = 0.25


def layout(points: np.ndarray, classes: np.ndarray | None = None) -> NucleusLayout:
    inside = ((points >= 0) & (points < SIDE)).all(1)
    classes = np.ones(len(points), np.int32) if classes is None else classes.astype(np.int32)
    return NucleusLayout(shape=(SIDE, SIDE), points=points[inside], classes=classes[inside])


def uniform(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random((n, 2)) * SIDE


def hard_core(rng: np.random.Generator, distance: float = 24.0) -> NucleusLayout:
    """Points none of which are nearer than 6 um, one after another."""
    kept: list[np.ndarray] = []
    for point in uniform(200, rng):
        if len(kept) < 50 and all(np.hypot(*(point - other)) >= distance for other in kept):
            kept.append(point)
    return layout(np.array(kept))


def thomas(rng: np.random.Generator, spread: float = 24.0) -> NucleusLayout:
    """Clusters of 3 points on average, 6 um wide, whose number varies from field to field."""
    parents = rng.random((rng.poisson(40), 2)) * (SIDE + 160) - 80
    children = np.repeat(parents, rng.poisson(3, len(parents)), axis=0)
    return layout(children + rng.normal(0, spread, children.shape))


def attached(rng: np.random.Generator) -> NucleusLayout:
    """Nuclei of class 2 sit near nuclei of class 1; class 3 goes its own way."""
    first = uniform(20, rng)
    second = first + rng.normal(0, 12, first.shape)
    third = uniform(20, rng)
    return layout(np.concatenate([first, second, third]), np.repeat([1, 2, 3], 20))


def fields(layouts: list[NucleusLayout]) -> list[Field]:
    return [field for one in layouts for field in fields_of(one, MPP)]


def fitted(make, n: int = 32) -> tuple[list[NucleusLayout], PointProcess, list[NucleusLayout]]:
    rng = np.random.default_rng(7)
    real = [make(rng) for _ in range(n)]
    process = PointProcess.fit(real, MPP)
    return real, process, [process.simulate((SIDE, SIDE), rng) for _ in range(3 * n)]


@pytest.mark.parametrize("size", [(64.0, 64.0), (40.0, 90.0)])
def test_pairs_by_chance_are_what_uniform_points_make(size):
    rng = np.random.default_rng(0)
    edges = np.arange(0, 41.0, 4)
    first, second = rng.random((2, 200_000, 2)) * size
    seen = np.histogram(np.linalg.norm(first - second, axis=1), edges)[0] / len(first)
    np.testing.assert_allclose(chance_of_distance(size, edges), seen, atol=0.003)


def test_uniform_points_have_no_correlation():
    rng = np.random.default_rng(1)
    pairs = count_pairs(fields([layout(uniform(60, rng), rng.integers(1, 3, 60)) for _ in range(100)]), EDGES, 2)
    np.testing.assert_allclose(pairs.pooled()[2:], 1, atol=0.1)
    np.testing.assert_array_equal(pairs.observed, pairs.observed.transpose(1, 0, 2))
    wide = pairs.observed.sum(2) / pairs.expected.sum(2)
    np.testing.assert_allclose(wide, 1, atol=0.03)


@pytest.mark.slow
def test_hard_core_comes_back():
    real, _, simulated = fitted(hard_core)
    there, here = nearest_distances(fields(real)), nearest_distances(fields(simulated))
    assert there.min() >= 6
    assert np.mean(here < 5.9) < 0.04
    assert np.median(here) == pytest.approx(np.median(there), rel=0.05)
    assert np.percentile(here, 90) == pytest.approx(np.percentile(there, 90), rel=0.07)
    assert np.mean(nearest_distances(fields([layout(uniform(50, np.random.default_rng(0)))])) < 5.9) > 0.5


@pytest.mark.slow
def test_clusters_come_back():
    real, _, simulated = fitted(thomas)
    there, here = (count_pairs(fields(layouts), EDGES, 1).pooled() for layouts in (real, simulated))
    assert there[1:4].mean() > 1.4, "else the pattern shows nothing"
    assert here[1:4].mean() == pytest.approx(there[1:4].mean(), rel=0.15)
    assert here[12:].mean() == pytest.approx(there[12:].mean(), rel=0.1)
    counts = [np.array([len(one.points) for one in layouts]) for layouts in (real, simulated)]
    assert counts[1].mean() == pytest.approx(counts[0].mean(), rel=0.15)
    assert counts[1].std() == pytest.approx(counts[0].std(), rel=0.3)
    assert counts[1].var() > 1.5 * counts[1].mean(), "more spread than chance has"


@pytest.mark.slow
def test_classes_that_seek_each_other_do_so_again():
    real, _, simulated = fitted(attached)
    there, here = (count_pairs(fields(layouts), EDGES, 3) for layouts in (real, simulated))
    near = [pairs.observed[..., :5].sum(2) / pairs.expected[..., :5].sum(2) for pairs in (there, here)]
    assert near[0][0, 1] > 3
    assert near[1][0, 1] == pytest.approx(near[0][0, 1], rel=0.25)
    for a, b in ((0, 0), (2, 2), (0, 2), (1, 2)):
        assert near[1][a, b] == pytest.approx(1, abs=0.4)


@pytest.fixture
def few_points(monkeypatch):
    """Fits that take a moment and are less exact."""
    monkeypatch.setattr(point_process, "_POINTS_PER_ITERATION", 200)


@pytest.fixture(scope="module")
def process() -> PointProcess:
    rng = np.random.default_rng(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point_process, "_POINTS_PER_ITERATION", 200)
        return PointProcess.fit([attached(rng) for _ in range(8)], MPP)


def test_the_generator_decides_and_nothing_else(process):
    first, again, other = (process.simulate((128, 200), np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.classes, again.classes)
    assert first.points.shape != other.points.shape or (first.points != other.points).any()


def test_the_same_layouts_give_the_same_process(few_points):
    first, again = (PointProcess.fit([attached(np.random.default_rng(0))], MPP).to_json() for _ in range(2))
    assert first == again


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 99))
def test_points_lie_on_the_canvas_whatever_its_size(process, height, width, mpp, seed):
    found = process.simulate((height, width), np.random.default_rng(seed), mpp=mpp)
    assert found.shape == (height, width)
    assert (found.points >= 0).all()
    assert (found.points < (height, width)).all()
    assert set(found.classes) <= {1, 2, 3}


def test_counts_go_with_the_area_and_not_with_the_resolution(process):
    rng = np.random.default_rng(0)
    fine = np.mean([len(process.simulate((256, 256), rng).points) for _ in range(20)])
    coarse = np.mean([len(process.simulate((128, 128), rng, mpp=0.5).points) for _ in range(20)])
    small = np.mean([len(process.simulate((64, 64), rng).points) for _ in range(200)])
    assert fine == pytest.approx(coarse, rel=0.1)
    assert small == pytest.approx(fine / 16, rel=0.15), "cut out of a larger torus"


def test_wanted_classes(process):
    rng = np.random.default_rng(0)
    assert set(process.simulate((256, 256), rng, only=(1, 3)).classes) == {1, 3}
    with pytest.raises(ConfigError, match=r"classes 1 to 3, got \[4\]"):
        process.simulate((64, 64), rng, only=(4,))
    with pytest.raises(ConfigError, match="at least one pixel"):
        process.simulate((0, 64), rng)


def test_wanted_classes_appear_where_less_than_one_nucleus_of_them_is_expected():
    rare = PointProcess(
        mpp=MPP, sizes=np.array([[64.0, 64.0]]), counts=np.array([[3, 1]], np.int32), potentials=np.zeros((2, 2, 24))
    )
    rng = np.random.default_rng(0)
    shown = [set(rare.simulate((200, 200), rng, only=(1, 2)).classes) for _ in range(20)]
    assert shown == [{1, 2}] * 20


def test_classes_never_seen_together_can_be_drawn_together(few_points):
    rng = np.random.default_rng(0)
    process = PointProcess.fit([layout(uniform(30, rng)), layout(uniform(30, rng), np.full(30, 3))], MPP)
    assert set(process.simulate((256, 256), rng, only=(1, 3)).classes) == {1, 3}
    with pytest.raises(ConfigError, match="no nucleus of one of the classes"):
        process.simulate((256, 256), rng, only=(2,))


def test_json_there_and_back(process):
    text = json.dumps(process.to_json())
    again = PointProcess.from_json(json.loads(text))
    assert again.to_json() == process.to_json()
    draws = [one.simulate((256, 256), np.random.default_rng(1)).points for one in (process, again)]
    np.testing.assert_array_equal(*draws)
    for wrong in ({}, {**process.to_json(), "counts": [[1]]}, {**process.to_json(), "potentials": "x"}):
        with pytest.raises(DataError, match="no fitted point process"):
            PointProcess.from_json(wrong)


def test_layouts_without_nuclei_cannot_be_fitted_but_few_can(few_points):
    empty = layout(np.zeros((0, 2)))
    for layouts in ([], [empty]):
        with pytest.raises(DataError, match="at least one nucleus"):
            PointProcess.fit(layouts, MPP)
    rng = np.random.default_rng(0)
    process = PointProcess.fit([empty, layout(uniform(1, rng)), layout(uniform(4, rng))], MPP)
    assert {len(process.simulate((SIDE, SIDE), rng).points) for _ in range(40)} == {0, 1, 4}


def test_layouts_are_cut_into_fields_without_losing_a_nucleus():
    rng = np.random.default_rng(0)
    whole = NucleusLayout(shape=(1000, 300), points=rng.random((500, 2)) * (1000, 300), classes=np.ones(500, np.int32))
    parts = fields_of(whole, MPP)
    assert len(parts) == 4
    assert sum(len(part.points) for part in parts) == 500
    for part in parts:
        assert part.size == (62.5, 75)
        assert ((part.points >= 0) & (part.points <= part.size)).all()
