"""Fragments and their joins: the tree, what is asked of a join, and that nothing far away matters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.drawn import HALF
from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.labels import relabel
from wsinuc.models.checkpoints.header import from_header
from wsinuc.separation.joining import (
    DESCRIPTORS,
    Joining,
    JoinTree,
    describe_joins,
    join_fragments,
    join_tree,
    topmost,
)
from wsinuc.separation.targets import centre_distance
from wsinuc.separation.watershed import fragments, instances_from_distance

ALWAYS = Joining(weights=(0.0,) * len(DESCRIPTORS), offset=1.0)
NEVER = replace(ALWAYS, offset=-1.0)
HUGE = 10**9


def scene(seed: int, size: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fragments of random blobs, the heights that they were cut by, and a foreground."""
    rng = np.random.default_rng(seed)
    heights = ndimage.gaussian_filter(rng.random((size, size)), 2.5)
    heights = ((heights - heights.min()) / np.ptp(heights) * 255).astype(np.uint8)
    foreground = np.where(ndimage.gaussian_filter(rng.random((size, size)), 4) > 0.49, np.uint8(200), np.uint8(0))
    pieces, smooth = fragments(foreground, heights, HALF, 0.02)
    return relabel(pieces), smooth, foreground


def tree_of(labels: np.ndarray, heights: np.ndarray, foreground: np.ndarray, largest: int = HUGE) -> JoinTree:
    return join_tree(labels, heights, foreground, largest)


def members(tree: JoinTree) -> list[frozenset[int]]:
    """Fragments of every node."""
    count = len(tree.parents) - len(tree.parts)
    found = [frozenset([k]) for k in range(count)]
    for one, other in tree.parts:
        found.append(found[one] | found[other])
    return found


def slow_joins(labels: np.ndarray, heights: np.ndarray, largest: int) -> list[tuple[frozenset[int], int]]:
    """What `join_tree` promises, by looking at all pairs again after every join: members and saddle of each."""
    groups = {frozenset([int(k) - 1]) for k in np.unique(labels[labels > 0])}
    meet: dict[tuple[int, int], int] = {}
    for (y, x), mine in np.ndenumerate(labels):
        for v, u in ((y + 1, x), (y, x + 1)):
            if v < labels.shape[0] and u < labels.shape[1] and mine and labels[v, u] not in (0, mine):
                pair = tuple(sorted((int(mine) - 1, int(labels[v, u]) - 1)))
                meet[pair] = max(meet.get(pair, 0), min(int(heights[y, x]), int(heights[v, u])))
    peak = {k: int(heights[labels == k + 1].max()) for g in groups for k in g}
    area = {k: int((labels == k + 1).sum()) for g in groups for k in g}
    done = []
    while True:
        options = []
        for place, (pair, saddle) in enumerate(sorted(meet.items())):
            a, b = (next(g for g in groups if k in g) for k in pair)
            if a != b and sum(area[k] for k in a | b) <= largest:
                rise = min(max(peak[k] for k in a), max(peak[k] for k in b)) - saddle
                options.append((rise, place, a, b, saddle))
        if not options:
            return done
        _, _, a, b, saddle = min(options, key=lambda option: option[:2])
        groups = (groups - {a, b}) | {a | b}
        done.append((a | b, saddle))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), largest=st.sampled_from([60, 150, HUGE]))
def test_the_least_rise_is_joined_first(seed: int, largest: int) -> None:
    labels, heights, foreground = scene(seed, 40)
    tree = tree_of(labels, heights, foreground, largest)
    count = len(tree.parents) - len(tree.parts)
    made = [(found, int(saddle)) for found, saddle in zip(members(tree)[count:], tree.saddles, strict=True)]
    assert made == slow_joins(labels, heights, largest)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_nodes_add_up(seed: int) -> None:
    labels, heights, foreground = scene(seed)
    tree = tree_of(labels, heights, foreground)
    count = len(tree.parents) - len(tree.parts)
    for node, inside in enumerate(members(tree)):
        region = np.isin(labels, [k + 1 for k in inside])
        y, x = np.nonzero(region)
        np.testing.assert_array_equal(
            tree.moments[node], [len(y), y.sum(), x.sum(), (y * y).sum(), (x * x).sum(), (y * x).sum()]
        )
        assert tree.peaks[node] == heights[region].max()
        assert tree.fragments[node] == len(inside)
    for join, (one, other) in enumerate(tree.parts):
        a, b = (np.isin(labels, [k + 1 for k in members(tree)[node]]) for node in (one, other))
        touching = sum(
            int((a[s] & b[t]).sum() + (b[s] & a[t]).sum())
            for s, t in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:]))
        )
        assert tree.contacts[join] == touching > 0
        assert tree.moments[one, 0] >= tree.moments[other, 0]
        assert tree.parents[one] == tree.parents[other] == count + join


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), down=st.integers(0, 900), right=st.integers(0, 900))
def test_the_place_in_the_array_changes_no_bit(seed: int, down: int, right: int) -> None:
    maps = scene(seed)
    here = describe_joins(tree_of(*maps), 0.25)
    there = describe_joins(tree_of(*(np.pad(each, ((down, 0), (right, 0))) for each in maps)), 0.25)
    np.testing.assert_array_equal(here, there)


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 10_000), second=st.integers(0, 10_000), offset=st.floats(-2, 2))
def test_pieces_that_do_not_touch_do_not_matter_to_each_other(first: int, second: int, offset: float) -> None:
    rule = replace(ALWAYS, weights=(0.3, -0.5, 1.0, 0.5, -1.0, 1.0, -4.0, 1.0, 1.0, -0.5), offset=offset)
    one, other = scene(first), scene(second)
    gap = np.zeros((64, 3), np.uint8)
    beside = [np.concatenate([a, gap.astype(a.dtype), b], axis=1) for a, b in zip(one, other, strict=True)]
    beside[0][:, 67:][other[0] > 0] += one[0].max()
    together = join_fragments(*beside, rule, mpp=0.5, largest=HUGE)
    alone = [relabel(join_fragments(*maps, rule, mpp=0.5, largest=HUGE)) for maps in (one, other)]
    np.testing.assert_array_equal(relabel(together[:, :64].copy()), alone[0])
    np.testing.assert_array_equal(relabel(together[:, 67:].copy()), alone[1])


def two_discs(apart: float) -> np.ndarray:
    """Two discs of 10 px radius, their centres so far apart."""
    yy, xx = np.mgrid[:60, :80] + 0.5
    one = (yy - 30) ** 2 + (xx - 25) ** 2 < 100
    other = (yy - 30) ** 2 + (xx - 25 - apart) ** 2 < 100
    return one.astype(np.int32) + 2 * (other & ~one)


def test_what_is_asked_of_two_discs() -> None:
    labels = two_discs(19.5)
    heights = (centre_distance(labels) * 255).astype(np.uint8)
    row = dict(
        zip(DESCRIPTORS, describe_joins(tree_of(labels, heights, np.full_like(heights, 204)), 0.5)[0], strict=True)
    )
    disc = math.log((labels == 2).sum() / 4)
    assert row["log of the smaller part's area in um2"] == pytest.approx(disc)
    assert row["log of the area in um2"] == pytest.approx(math.log((labels > 0).sum() / 4))
    for part in ("larger", "smaller"):
        assert row[f"the same of the {part} part"] == pytest.approx(1, abs=0.01)
    assert row["area over that of the ellipse with the same second moments"] < 0.93
    assert row["mean probability of nucleus along the contact"] == pytest.approx(0.8)
    assert row["lower peak of the two parts"] == pytest.approx(1, abs=0.02)
    assert 0.6 < row["its rise above the saddle between them"] < 1
    assert row["length of the contact over the width of the ellipse"] < 0.4
    assert row["log of the number of fragments"] == pytest.approx(math.log(2))


def test_a_disc_cut_in_half_is_an_ellipse() -> None:
    labels = (two_discs(0) > 0).astype(np.int32)
    labels[:, 25:][labels[:, 25:] > 0] = 2
    heights = np.where(labels > 0, np.uint8(99), np.uint8(0))
    row = describe_joins(tree_of(labels, heights, heights), 0.25)[0]
    assert row[2] == pytest.approx(1, abs=0.01)
    assert row[6] == 0
    assert row[8] == pytest.approx(1, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_always_and_never(seed: int) -> None:
    labels, heights, foreground = scene(seed)
    apart = join_fragments(labels, heights, foreground, NEVER, mpp=0.5, largest=HUGE)
    np.testing.assert_array_equal(apart, labels)
    joined = join_fragments(labels, heights, foreground, ALWAYS, mpp=0.5, largest=HUGE)
    whole, count = ndimage.label(labels > 0)
    assert len(np.unique(joined)) == count + 1
    for piece in range(1, count + 1):
        assert len(np.unique(joined[whole == piece])) == 1


def test_no_join_is_larger_than_the_largest_nucleus() -> None:
    labels, heights, foreground = scene(3)
    limit = 200
    joined = join_fragments(labels, heights, foreground, ALWAYS, mpp=0.5, largest=limit)
    alone = np.isin(joined, [k for k in np.unique(joined) if len(np.unique(labels[joined == k])) == 1])
    assert np.bincount(joined[~alone & (joined > 0)]).max() <= limit


def test_below_a_right_join_nothing_is_asked() -> None:
    labels, heights, foreground = scene(5)
    tree = tree_of(labels, heights, foreground)
    top = len(tree.parents) - 1
    inside = sorted(members(tree)[top])
    only = np.arange(len(tree.parts)) == len(tree.parts) - 1
    home = topmost(tree, only)
    assert set(home[inside]) == {top}
    rest = np.setdiff1d(np.arange(len(home)), inside)
    np.testing.assert_array_equal(home[rest], rest)
    np.testing.assert_array_equal(topmost(tree, np.ones_like(only))[inside], top)


@pytest.mark.parametrize("what", [{"weights": (1.0,)}, {"fragment_height": 0.0}, {"fragment_height": 1.5}])
def test_settings_that_make_no_sense(what: dict) -> None:
    with pytest.raises(ConfigError):
        replace(ALWAYS, **what)


def test_headers_keep_the_rule() -> None:
    header = {"weights": list(ALWAYS.weights), "offset": 1.0, "fragment_height": 0.03}
    assert from_header(Joining, header) == ALWAYS
    with pytest.raises(CheckpointError, match="'bias'"):
        from_header(Joining, header | {"bias": 1.0})


def test_nothing_to_join() -> None:
    empty = np.zeros((20, 20), np.uint8)
    assert not join_fragments(empty.astype(np.int32), empty, empty, ALWAYS, mpp=0.5, largest=HUGE).any()
    assert not instances_from_distance(empty, empty, HALF, ALWAYS).any()
    assert instances_from_distance(empty + 255, empty + 255, HALF, ALWAYS).max() == 1
