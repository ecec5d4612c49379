"""Where nuclei could lie: a point process of several classes, fitted to annotated layouts.

Method C (Min, Oh, Jeong 2024) takes the layouts of real test images and leaves new ones as future
work. Here a layout is drawn in two steps. The numbers of nuclei of all classes are those of a real
field, drawn at random, so that their spread and how they go together are the real ones. Their
places come from a Gibbs process: Metropolis moves (Metropolis et al. 1953) under a potential
between each two classes, U_ab(r), that is zero beyond ``REACH_UM``. The potentials are found by
iterative Boltzmann inversion (Reith, Puetz, Mueller-Plathe 2003): start from U = -log g, simulate,
and correct by log(g_simulated / g_real), with steps that adapt to what they cause. So distances
between nuclei, clusters, and which classes seek or shun each other become those of the real
layouts.

Lengths inside are um, so that a process fitted at one resolution draws layouts at any other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError, DataError
from wsinuc.synthesis.gibbs import draw_gibbs
from wsinuc.synthesis.layouts import NucleusLayout
from wsinuc.synthesis.pair_correlation import Field, PairCounts, count_pairs
from wsinuc.typed_json import from_json

REACH_UM = 24.0
"""Beyond this distance nuclei ignore each other."""
BIN_UM = 1.0
"""Width of the bins of distance in which a potential is constant."""
FIELD_UM = 64.0
"""Side of the fields whose numbers of nuclei are kept: 256 px at 0.25 um per pixel."""

_PRIOR_PAIRS = 4.0
"""Expected pairs of the average of all classes that are added to those of two classes, of which there may be few."""
_HARDEST = 12.0
"""Largest potential: exp(-12) is as good as never."""
_DEEPEST = -4.0
"""Smallest potential: an attraction that makes pairs 55 times as likely."""
_LEAST = 0.01
"""g below which nuclei as good as never lie so near."""
_ITERATIONS = 24
"""Simulations by which the potentials are found."""
_GROWTH = 1.3
"""Factor by which the step of a bin grows that does not swing."""
_FIRST_RATE = 0.1
_LARGEST_RATE = 0.5
_SMALLEST_RATE = 0.02
_POINTS_PER_ITERATION = 3000
"""Points of a simulation, so that chance moves a bin of g by a few percent."""
_MOST_FIELDS = 512
"""Real fields that are kept, and times that a real field is simulated in an iteration."""
_DENSEST = 1.0
"""Nuclei per um2 that no tissue has."""
_SWEEPS = 50
"""Moves per nucleus of every simulation, the fit's included."""
_EDGES = np.arange(0, REACH_UM + BIN_UM / 2, BIN_UM)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """A fitted process as JSON has it."""

    mpp: float
    sizes_um: list[list[float]]
    counts: list[list[int]]
    potentials: list[list[list[float]]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PointProcess:
    """A fitted process; draws layouts of nuclei."""

    mpp: float
    """um per pixel of the layouts that it was fitted to."""
    sizes: NDArray[np.float64]
    """(m, 2) (h, w) in um of the real fields."""
    counts: NDArray[np.int32]
    """(m, k) nuclei of each class in each of them."""
    potentials: NDArray[np.float64]
    """(k, k, bins) U between two classes at distances of 0, ``BIN_UM``, ...; symmetric."""

    @classmethod
    def fit(cls, layouts: Sequence[NucleusLayout], mpp: float, *, seed: int = 0) -> PointProcess:
        """The process whose layouts are like these.

        Parameters
        ----------
        mpp
            um per pixel of all layouts.
        seed
            Of the simulations; the same gives the same process.

        Raises
        ------
        DataError
            There is no layout with a nucleus.
        """
        fields = [field for layout in layouts for field in fields_of(layout, mpp)]
        n_kinds = max((int(field.kinds.max(initial=-1)) + 1 for field in fields), default=0)
        if not n_kinds:
            raise DataError(f"a point process needs at least one nucleus, got {len(layouts)} layouts without any")
        chosen = [fields[i] for i in np.linspace(0, len(fields) - 1, min(len(fields), _MOST_FIELDS)).astype(int)]
        process = cls(
            mpp=mpp,
            sizes=np.array([field.size for field in chosen]),
            counts=np.array([np.bincount(field.kinds, minlength=n_kinds) for field in chosen], np.int32),
            potentials=np.zeros((n_kinds, n_kinds, round(REACH_UM / BIN_UM))),
        )
        return process._with_correlations_of(count_pairs(fields, _EDGES, n_kinds), np.random.default_rng(seed))

    def simulate(
        self,
        shape: tuple[int, int],
        rng: np.random.Generator,
        *,
        mpp: float | None = None,
        only: Collection[int] | None = None,
    ) -> NucleusLayout:
        """A new layout; the same generator state gives the same one.

        Parameters
        ----------
        shape
            (h, w) in pixels.
        mpp
            um per pixel of the canvas; None is that of the layouts fitted to.
        only
            Classes, counted from 1, that appear, on canvases of at least twice ``REACH_UM`` all of them; others do
            not. None leaves that to the field drawn.

        Raises
        ------
        ConfigError
            A class that the process does not know, or a canvas without area.
        """
        mpp = mpp or self.mpp
        if min(shape) < 1 or mpp <= 0:
            raise ConfigError(f"a canvas needs at least one pixel and mpp above 0, got {shape} at {mpp:g} um per pixel")
        # Opposite sides touch, as if nuclei went on beyond the border; a small canvas is cut out of a larger torus.
        torus = np.maximum(np.multiply(shape, mpp), 2 * REACH_UM)
        expected = self._draw_numbers(only, rng) * torus.prod()
        numbers = np.floor(expected + rng.random(len(expected))).astype(int)
        if only is not None:
            # Less than one is expected of a rare class on a small canvas, and yet it was asked for.
            numbers = np.maximum(numbers, self.shown(only))
        kinds = np.repeat(np.arange(len(numbers), dtype=np.int32), numbers)
        points = draw_gibbs(torus, kinds, self.potentials, BIN_UM, rng, sweeps=_SWEEPS) / mpp
        inside = (points < shape).all(1)
        return NucleusLayout(shape=shape, points=points[inside], classes=(kinds[inside] + 1).astype(np.int32))

    def to_json(self) -> dict[str, Any]:
        """JSON types from which `from_json` makes the same process again."""
        return {
            "mpp": self.mpp,
            "sizes_um": self.sizes.tolist(),
            "counts": self.counts.tolist(),
            "potentials": self.potentials.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PointProcess:
        """The process that `to_json` wrote; raises DataError for anything else."""
        tables = from_json(_Tables, data, error=DataError, subject="this is no fitted point process")
        try:
            process = cls(
                mpp=tables.mpp,
                sizes=np.array(tables.sizes_um, np.float64),
                counts=np.array(tables.counts, np.int32),
                potentials=np.array(tables.potentials, np.float64),
            )
        except (ValueError, OverflowError) as error:  # rows of different lengths, counts beyond 32 bits
            raise DataError(f"this is no fitted point process ({error!r})") from error
        fields = kinds = 0
        if process.counts.ndim == 2:
            fields, kinds = process.counts.shape
        if process.sizes.shape != (fields, 2) or process.potentials.shape != (kinds, kinds, len(_EDGES) - 1):
            raise DataError("this is no fitted point process: its tables do not fit together")
        arrays = (process.sizes, process.counts, process.potentials)
        if not (0 < process.mpp <= 100 and fields and all(np.isfinite(array).all() for array in arrays)):
            raise DataError("this is no fitted point process: it is empty, or its numbers are not finite")
        density = process.counts / process.sizes.prod(1, keepdims=True)
        if process.sizes.min() <= 0 or process.counts.min(initial=0) < 0 or density.max(initial=0) > _DENSEST:
            raise DataError("this is no fitted point process: fields without area, or more nuclei than fit in them")
        return process

    def shown(self, only: Collection[int] | None) -> NDArray[np.bool_]:
        """(k,) which classes a layout shows of which ``only`` these, counted from 1, are wanted; None wants all.

        Raises
        ------
        ConfigError
            A class of which no nucleus was in the layouts fitted to.
        """
        kinds = self.counts.shape[1]
        if only is None:
            return np.ones(kinds, np.bool_)
        if not set(only) <= set(range(1, kinds + 1)):
            raise ConfigError(
                f"the layouts that the process was fitted to show classes 1 to {kinds}, got {sorted(only)}"
            )
        wanted: NDArray[np.bool_] = np.isin(np.arange(1, kinds + 1), list(only))
        if not self.counts[:, wanted].any(0).all():
            raise ConfigError(f"no nucleus of one of the classes {sorted(only)} was in the layouts fitted to")
        return wanted

    def _draw_numbers(self, only: Collection[int] | None, rng: np.random.Generator) -> NDArray[np.float64]:
        """(k,) nuclei per um^2 of each class, of a real field or, where none shows all wanted classes, of several."""
        density = self.counts / self.sizes.prod(1, keepdims=True)
        if only is None:
            field: NDArray[np.float64] = density[rng.integers(len(density))]
            return field
        wanted = self.shown(only)
        shown = self.counts > 0
        whole = np.flatnonzero(shown[:, wanted].all(1))
        if len(whole):
            return np.where(wanted, density[rng.choice(whole)], 0)
        numbers = np.zeros(len(wanted))
        for k in np.flatnonzero(wanted):
            numbers[k] = density[rng.choice(np.flatnonzero(shown[:, k])), k]
        return numbers

    def _with_correlations_of(self, real: PairCounts, rng: np.random.Generator) -> PointProcess:
        """The process with potentials under which simulated pairs are as frequent as the real ones."""
        prior = real.pooled()
        target = real.correlation(prior, _PRIOR_PAIRS)
        start = -np.log(np.maximum(target, _LEAST))
        # Attraction feeds on itself (see below), so it begins at half of what the pairs show.
        trial = np.clip(np.where(start < 0, start / 2, start), _DEEPEST, _HARDEST)
        rates = np.full_like(trial, _FIRST_RATE)
        before = np.zeros_like(trial)
        fields = self._fields_to_simulate(rng)
        best = trial
        lowest = np.inf
        for _ in range(_ITERATIONS):
            # By the same moves from the same start as in `simulate`: the potentials answer for what
            # few moves leave out.
            pairs = count_pairs([self._simulated_field(i, trial, rng) for i in fields], _EDGES, self.counts.shape[1])
            # As many pairs as in the real fields, so that both are drawn towards the prior alike.
            scale = np.divide(real.expected, pairs.expected, out=np.zeros_like(real.expected), where=pairs.expected > 0)
            scaled = PairCounts(observed=pairs.observed * scale, expected=real.expected)
            same = scaled.correlation(prior, _PRIOR_PAIRS)
            excess = np.clip(np.log(np.maximum(same, _LEAST) / np.maximum(target, _LEAST)), -1, 1)
            error = float((real.expected * excess**2).sum())
            # Simulations are noisy, so the last potentials need not be the best.
            if error < lowest:
                best = trial
                lowest = error
            # Attraction feeds on itself: full steps would swing between gas and clumps. As in Rprop, a bin that swings
            # steps shorter, one that does not, longer.
            rates = np.clip(np.where(excess * before < 0, rates / 2, rates * _GROWTH), _SMALLEST_RATE, _LARGEST_RATE)
            trial = np.clip(trial + rates * excess, _DEEPEST, _HARDEST)
            before = excess
        return replace(self, potentials=best)

    def _fields_to_simulate(self, rng: np.random.Generator) -> list[int]:
        """Real fields at random, each several times where they are few, enough of them for steady counts of pairs."""
        totals = self.counts.sum(1)
        repeats = min(_MOST_FIELDS, math.ceil(_POINTS_PER_ITERATION / totals.sum()))
        order = np.concatenate([rng.permutation(len(totals)) for _ in range(repeats)])
        enough = np.searchsorted(np.cumsum(totals[order]), _POINTS_PER_ITERATION) + 1
        return [int(i) for i in order[:enough]]

    def _simulated_field(self, i: int, potentials: NDArray[np.float64], rng: np.random.Generator) -> Field:
        """Nuclei at new places, as many as in the real field ``i``."""
        kinds = np.repeat(np.arange(self.counts.shape[1], dtype=np.int32), self.counts[i])
        points = draw_gibbs(self.sizes[i], kinds, potentials, BIN_UM, rng, sweeps=_SWEEPS)
        return Field(size=(self.sizes[i, 0], self.sizes[i, 1]), points=points, kinds=kinds)


def fields_of(layout: NucleusLayout, mpp: float) -> list[Field]:
    """A layout cut into equal fields of about ``FIELD_UM`` a side."""
    size = np.multiply(layout.shape, mpp)
    rows, columns = np.maximum(1, np.round(size / FIELD_UM)).astype(int)
    side = size / (rows, columns)
    points = layout.points * mpp
    at = np.minimum(points // side, (rows - 1, columns - 1)).astype(int)
    index = at[:, 0] * columns + at[:, 1]
    return [
        Field(
            size=(side[0], side[1]),
            points=points[index == i] - np.multiply(divmod(i, columns), side),
            kinds=layout.classes[index == i] - 1,
        )
        for i in range(rows * columns)
    ]
