"""What lies around nuclei: as SciPy has it, and the same whatever their order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import Delaunay, cKDTree
from scipy.spatial.distance import cdist

from wsinuc.nuclei import neighbours
from wsinuc.nuclei.measured_names import NEAREST, RADII_UM, neighbour_columns
from wsinuc.nuclei.neighbours import GAP_UM, Neighbourhood, delaunay_degrees

MPP = 0.5
KINDS = ("tumour", "immune cell", "other")


def scattered(count: int = 1500, side_um: float = 800.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centroids = rng.uniform(0, side_um / MPP, (count, 2)) + np.array([30_000, 50_000])
    # A hole, which the triangles span.
    centroids = centroids[np.hypot(*(centroids - (30_900, 50_900)).T) > 300]
    return centroids, rng.integers(0, 2, len(centroids)).astype(np.uint8)


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    centroids, classes = scattered()
    return Neighbourhood(centroids, classes, KINDS, MPP).columns(0, len(centroids))


def test_names_are_those_that_are_announced(columns: dict[str, np.ndarray]) -> None:
    assert tuple(columns) == neighbour_columns(KINDS)
    centroids, classes = scattered(50)
    one = Neighbourhood(centroids, np.zeros_like(classes), KINDS[:1], MPP).columns(0, len(centroids))
    assert not [name for name in one if name.endswith("tumour")]


def test_nearest_neighbours_are_those_of_all_distances(columns: dict[str, np.ndarray]) -> None:
    centroids, classes = scattered()
    distances = cdist(centroids, centroids) * MPP
    np.fill_diagonal(distances, np.inf)
    for k in range(NEAREST):
        np.testing.assert_allclose(columns[f"neighbour_{k + 1}_um"], np.sort(distances, axis=1)[:, k], rtol=1e-6)
    for k, name in enumerate(KINDS[:2]):
        expected = distances[:, classes == k].min(axis=1)
        np.testing.assert_allclose(columns[f"nearest_um_{name}"], expected, rtol=1e-6)
    assert np.isnan(columns["nearest_um_other"]).all()


@pytest.mark.parametrize("radius", RADII_UM)
def test_counts_are_those_of_a_tree(columns: dict[str, np.ndarray], radius: int) -> None:
    centroids, classes = scattered()
    everyone = cKDTree(centroids).query_ball_point(centroids, radius / MPP, return_length=True) - 1
    np.testing.assert_array_equal(columns[f"count_{radius}um"], everyone)
    np.testing.assert_allclose(
        columns[f"density_{radius}um_per_mm2"], everyone / (np.pi * (radius / 1000) ** 2), rtol=1e-6
    )
    immune = cKDTree(centroids[classes == 1]).query_ball_point(centroids, radius / MPP, return_length=True)
    np.testing.assert_array_equal(columns[f"count_{radius}um_immune cell"], immune - (classes == 1))


def full_degrees(centroids: np.ndarray, gap: float) -> np.ndarray:
    """Of the triangulation of all points at once."""
    triangles = Delaunay(centroids - centroids.mean(axis=0)).simplices
    edges = set()
    for triangle in triangles:
        a, b, c = centroids[triangle]
        sides = np.linalg.norm(a - b), np.linalg.norm(b - c), np.linalg.norm(c - a)
        area = abs(np.linalg.det(np.stack([b - a, c - a]))) / 2
        if np.prod(sides) / (4 * area) <= gap:
            edges |= {tuple(sorted((triangle[i], triangle[j]))) for i, j in ((0, 1), (1, 2), (2, 0))}
    return np.bincount(np.array(sorted(edges)).ravel(), minlength=len(centroids))


@pytest.mark.parametrize("window", [150.0, 390.0, 2000.0])
def test_delaunay_neighbours_are_those_of_one_triangulation(window: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "WINDOW_UM", window)
    centroids, _ = scattered()
    degrees = delaunay_degrees(centroids, MPP)
    np.testing.assert_array_equal(degrees, full_degrees(centroids, GAP_UM / MPP))
    assert 5.5 < degrees.mean() < 6


def test_their_order_changes_no_byte() -> None:
    centroids, classes = scattered()
    # On a lattice every square has four points on one circle, and either diagonal would do.
    lattice = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), axis=-1).reshape(-1, 2) * 20
    for points, kinds in ((centroids, classes), (lattice, np.zeros(900, np.uint8))):
        one = Neighbourhood(points, kinds, KINDS, MPP).columns(0, len(points))
        shuffled = np.random.default_rng(3).permutation(len(points))
        other = Neighbourhood(points[shuffled], kinds[shuffled], KINDS, MPP).columns(0, len(points))
        for name, values in one.items():
            assert values[shuffled].tobytes() == other[name].tobytes(), name


def test_a_part_is_what_the_whole_says_of_it(columns: dict[str, np.ndarray]) -> None:
    centroids, classes = scattered()
    part = Neighbourhood(centroids, classes, KINDS, MPP).columns(100, 230)
    for name, values in columns.items():
        assert part[name].tobytes() == values[100:230].tobytes(), name


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_nuclei_have_few_neighbours(count: int) -> None:
    centroids = np.array([[10.0, 10.0], [10.0, 30.0], [10.0, 50.0]])[:count]
    measured = Neighbourhood(centroids, np.zeros(count, np.uint8), KINDS, MPP).columns(0, count)
    assert measured["count_25um"].tolist() == [max(0, count - 1)] * count
    assert measured["delaunay_degree"].tolist() == [0] * count  # all on one line
    assert np.isnan(measured["neighbour_5_um"]).all()
    if count > 1:
        assert measured["neighbour_1_um"].tolist() == [10.0] * count
