"""Which fragments of the foreground are one nucleus.

A large vesicular nucleus has several peaks of the distance map, two nuclei that touch may have a
saddle between theirs that is hardly lower: one rise that parts peaks cannot suit both. So the
foreground is cut too often first, and the fragments are joined again, in a tree: of all pairs that
touch, the one whose lower peak rises least above the saddle between the two comes first. Whether a
join is *right* is then asked from the top of each tree down. It is answered by what nuclei look
like, their size, how well an ellipse fits them, how wide the contact is, in a logistic regression
learned where the annotation is known (`wsinuc.workflows.join.run`). Where the answer is no, both
parts are asked in turn.

Everything is counted in integers until the very last step, and no join reaches farther than the
largest nucleus: a nucleus comes out the same in whatever crop it was seen.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.kernels import kernel
from wsinuc.labels import relabel
from wsinuc.separation.flooding import root_of

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int32]

DESCRIPTORS = (
    "log of the area in um2",
    "log of the smaller part's area in um2",
    "area over that of the ellipse with the same second moments",
    "the same of the larger part",
    "the same of the smaller part",
    "lower peak of the two parts",
    "its rise above the saddle between them",
    "mean probability of nucleus along the contact",
    "length of the contact over the width of the ellipse",
    "log of the number of fragments",
)
"""What is asked about a join, in this order; probabilities and heights between 0 and 1."""
RISE = 6
"""Where the rise stands among them."""

_FLAT = 1e-6
"""Pixels that an ellipse is wide at least, so that a row of pixels has a width to divide by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """When fragments are one nucleus: where ``offset + weights . descriptors`` is not negative.

    Raises
    ------
    ConfigError
        There are not as many weights as `DESCRIPTORS`, or ``fragment_height`` is out of range.
    """

    weights: tuple[Annotated[float, Meta(ge=-1e6, le=1e6)], ...]
    """One for each of `DESCRIPTORS`."""
    offset: Annotated[float, Meta(ge=-1e6, le=1e6)]
    """The logistic regression's intercept."""
    fragment_height: Annotated[float, Meta(gt=0, le=1)] = 0.03
    """Rise above the saddle from which two peaks are two fragments, instead of `WatershedSettings.marker_height`."""

    def __post_init__(self) -> None:
        if len(self.weights) != len(DESCRIPTORS):
            raise ConfigError(f"joining weighs {len(DESCRIPTORS)} descriptors, got {len(self.weights)} weights")
        if not 0.0 < self.fragment_height <= 1.0:
            raise ConfigError(f"fragment_height must lie above 0 and at most at 1, got {self.fragment_height}")

    def accepts(self, descriptors: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which joins ``(n,)`` are right, by their `DESCRIPTORS` ``(n, 10)``."""
        right: NDArray[np.bool_] = descriptors @ np.array(self.weights) + self.offset >= 0
        return right


class JoinTree(NamedTuple):
    """Fragments and their joins as nodes of binary trees: fragments 0 .. n - 1, then joins in the
    order they were made."""

    parts: NDArray[np.int64]
    """(joins, 2) nodes that a join unites, the larger first."""
    parents: NDArray[np.int64]
    """(nodes,) join that a node is a part of, -1 at the top."""
    moments: NDArray[np.int64]
    """(nodes, 6) pixels, and sums of y, x, yy, xx, yx over them."""
    peaks: NDArray[np.int64]
    """(nodes,) highest level, 0 to 255."""
    fragments: NDArray[np.int64]
    """(nodes,) how many fragments a node has."""
    saddles: NDArray[np.int64]
    """(joins,) highest level at which the parts meet."""
    contacts: NDArray[np.int64]
    """(joins,) pairs of pixels that meet."""
    certain: NDArray[np.int64]
    """(joins,) sum of the foreground over both pixels of these pairs."""


def join_fragments(
    labels: Labels, heights: UInt8, foreground: UInt8, joining: Joining, *, mpp: float, largest: int
) -> Labels:
    """Labels with the fragments of one nucleus as one label.

    Parameters
    ----------
    labels
        int32 ``(h, w)``: 0 background, else the id of a fragment.
    heights
        uint8 ``(h, w)``, the map that the fragments were cut by, 255 = innermost.
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.
    mpp
        um per pixel.
    largest
        Pixels that a nucleus may have: no larger join is made.

    Returns
    -------
    int32 ``(h, w)``: 0 background; ids are not dense.
    """
    labels = relabel(labels)
    tree = join_tree(labels, heights, foreground, largest)
    right = joining.accepts(describe_joins(tree, mpp))
    # 0 stands for the background, so that the fragments' ids index the array directly.
    return np.concatenate([[0], topmost(tree, right) + 1]).astype(np.int32)[labels]


def join_tree(labels: Labels, heights: UInt8, foreground: UInt8, largest: int) -> JoinTree:
    """All joins of fragments that touch, up to ``largest`` pixels; parameters as in
    `join_fragments`, but ids are 1..n."""
    count = int(labels.max(initial=0))
    moments, peaks = _measure(labels, heights, count)
    pairs, saddles, lengths, certain = _contacts(labels, heights, foreground)
    parts, parents, sums, tallest, fragments, passes = _joined(moments, peaks, pairs, saddles, largest)
    return JoinTree(
        parts=parts,
        parents=parents,
        moments=sums,
        peaks=tallest,
        fragments=fragments,
        saddles=passes,
        contacts=_sums_by_join(parents, count, pairs, lengths),
        certain=_sums_by_join(parents, count, pairs, certain),
    )


def describe_joins(tree: JoinTree, mpp: float) -> NDArray[np.float64]:
    """`DESCRIPTORS` of every join: ``(joins, 10)``."""
    count = len(tree.parents) - len(tree.parts)
    whole = np.arange(count, len(tree.parents))
    large, small = tree.parts.T
    area = tree.moments[:, 0] * mpp**2
    lower = np.minimum(tree.peaks[large], tree.peaks[small])
    filled_whole, width = _ellipse(tree.moments[whole], mpp)
    filled_large, _ = _ellipse(tree.moments[large], mpp)
    filled_small, _ = _ellipse(tree.moments[small], mpp)
    return np.stack(
        [
            np.log(area[whole]),
            np.log(area[small]),
            filled_whole,
            filled_large,
            filled_small,
            lower / 255,
            (lower - tree.saddles) / 255,
            tree.certain / (2 * 255 * tree.contacts),
            tree.contacts * mpp / width,
            np.log(tree.fragments[whole]),
        ],
        axis=1,
    )


def topmost(tree: JoinTree, right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For every fragment the node that it ends up in: the topmost of its joins that is right, else itself.

    Parameters
    ----------
    right
        bool ``(joins,)``; what lies below a join that is right is not asked.

    Returns
    -------
    int64 ``(fragments,)``, nodes of the tree.
    """
    nodes: NDArray[np.int64] = _topmost(tree.parts, right, len(tree.parents))
    return nodes


def _ellipse(moments: NDArray[np.int64], mpp: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How well an ellipse fits regions: area over that of the ellipse with the same second moments,
    and its width in um."""
    n, y, x, yy, xx, yx = moments.T
    # Exact in integers, so the same wherever the array begins; each pixel is a square, with a variance of 1/12.
    square = (n * n).astype(np.float64)
    vy = (n * yy - y * y) / square + 1 / 12
    vx = (n * xx - x * x) / square + 1 / 12
    vyx = (n * yx - y * x) / square
    determinant = np.maximum(vy * vx - vyx * vyx, _FLAT**2)
    half = (vy + vx) / 2
    # The smaller eigenvalue of the covariance.
    narrow = half - np.sqrt(np.maximum(half * half - determinant, 0))
    # An ellipse with variances a^2 / 4 and b^2 / 4 along its axes has the area pi a b and the width 2 b.
    return n / (4 * math.pi * np.sqrt(determinant)), 4 * mpp * np.sqrt(np.maximum(narrow, _FLAT**2))


@kernel
def _measure(labels: Labels, heights: UInt8, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Moments and peaks of the labels 1..count."""
    moments = np.zeros((count, 6), np.int64)
    peaks = np.zeros(count, np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            k = labels[y, x] - 1
            if k >= 0:
                moments[k, 0] += 1
                moments[k, 1] += y
                moments[k, 2] += x
                moments[k, 3] += y * y
                moments[k, 4] += x * x
                moments[k, 5] += y * x
                peaks[k] = max(peaks[k], heights[y, x])
    return moments, peaks


def _contacts(labels: Labels, heights: UInt8, foreground: UInt8) -> tuple[NDArray[np.int64], ...]:
    """Pairs of fragments that touch ``(k, 2)``, highest level where they do, pairs of pixels, sum
    of the foreground there."""
    sides = []
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        met = (labels[one] != labels[other]) & (labels[one] > 0) & (labels[other] > 0)
        first = labels[one][met].astype(np.int64) - 1
        second = labels[other][met].astype(np.int64) - 1
        level = np.minimum(heights[one][met], heights[other][met])
        both = foreground[one][met].astype(np.int64) + foreground[other][met]
        sides.append((np.minimum(first, second), np.maximum(first, second), level, both))
    low, high, level, both = (np.concatenate(part) for part in zip(*sides, strict=True))
    pairs, which = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    which = which.ravel()  # its shape differs between versions of NumPy
    saddles = np.zeros(len(pairs), np.int64)
    np.maximum.at(saddles, which, level)
    certain = np.zeros(len(pairs), np.int64)
    np.add.at(certain, which, both)
    return pairs, saddles, np.bincount(which, minlength=len(pairs)), certain


@kernel
def _joined(
    moments: NDArray[np.int64],
    peaks: NDArray[np.int64],
    pairs: NDArray[np.int64],
    saddles: NDArray[np.int64],
    largest: int,
) -> tuple[NDArray[np.int64], ...]:
    """Parts, parents, moments, peaks, fragments and saddles of the tree.

    Pairs whose lower peak rises least above their saddle are joined first, ties in their order.
    """
    count = len(moments)
    most = max(2 * count - 1, count)
    parents = np.full(most, -1, np.int64)
    top = np.arange(most)
    sums = np.zeros((most, 6), np.int64)
    tallest = np.zeros(most, np.int64)
    for k in range(count):
        for moment in range(6):
            sums[k, moment] = moments[k, moment]
        tallest[k] = peaks[k]
    fragments = np.ones(most, np.int64)
    parts = np.zeros((most - count, 2), np.int64)
    passes = np.zeros(most - count, np.int64)
    queue = [(min(peaks[pairs[k, 0]], peaks[pairs[k, 1]]) - saddles[k], k) for k in range(len(pairs))]
    heapq.heapify(queue)
    node = count
    while queue:
        rise, k = heapq.heappop(queue)
        a = root_of(top, pairs[k, 0])
        b = root_of(top, pairs[k, 1])
        if a == b or sums[a, 0] + sums[b, 0] > largest:
            continue
        now = min(tallest[a], tallest[b]) - saddles[k]
        # One of them has grown since: a rise never falls, so the pair's turn comes later.
        if now > rise:
            heapq.heappush(queue, (now, k))
            continue
        if sums[a, 0] < sums[b, 0]:
            a, b = b, a
        parts[node - count, 0] = a
        parts[node - count, 1] = b
        passes[node - count] = saddles[k]
        for moment in range(6):
            sums[node, moment] = sums[a, moment] + sums[b, moment]
        tallest[node] = max(tallest[a], tallest[b])
        fragments[node] = fragments[a] + fragments[b]
        parents[a] = parents[b] = top[a] = top[b] = node
        node += 1
    return parts[: node - count], parents[:node], sums[:node], tallest[:node], fragments[:node], passes[: node - count]


@kernel
def _sums_by_join(
    parents: NDArray[np.int64], fragments: int, pairs: NDArray[np.int64], values: NDArray[np.int64]
) -> NDArray[np.int64]:
    """``(joins,)`` sums of the pairs' values; a contact lies between the parts of the lowest join of both fragments."""
    sums = np.zeros(len(parents) - fragments, np.int64)
    for k in range(len(pairs)):
        a = pairs[k, 0]
        b = pairs[k, 1]
        # Parents have larger numbers than their parts, so the smaller node climbs until the two meet.
        while a != b and a >= 0 and b >= 0:
            if a < b:
                a = parents[a]
            else:
                b = parents[b]
        if a == b:
            sums[a - fragments] += values[k]
    return sums


@kernel
def _topmost(parts: NDArray[np.int64], right: NDArray[np.bool_], nodes: int) -> NDArray[np.int64]:
    """Joins from the last made to the first: every part belongs to what its join belongs to, or is free."""
    count = nodes - len(parts)
    home = np.arange(nodes)
    for k in range(len(parts) - 1, -1, -1):
        join = count + k
        if home[join] != join or right[k]:
            home[parts[k, 0]] = home[parts[k, 1]] = home[join]
    return home[:count]
