"""Whether a model knows when it is wrong: reliability of probabilities, and doubt as a detector of errors.

Every predicted nucleus carries numbers that claim something (its probability, the disagreement of
the ensemble) and is, against annotation, right or wrong: right when it is matched one to one with
an IoU above one half. Two questions follow.

Does the probability *mean what it says*? Of nuclei with probability 0.8, four in five should be
right. `reliability` sorts nuclei into bins of probability; the expected calibration error (Guo et
al. 2017) is the mean distance between the probability and the share that is right, ECE = sum_b n_b
/ n |right_b - probability_b|.

Does doubt *point at* errors? The area under the ROC curve of "wrong" is the chance that a wrong
nucleus has more of a doubt than a right one, ties counting one half: 0.5 is none, 1 all. It depends
on the order of the doubts alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from wsinuc.errors import DataError

BINS = 20
"""Bins of equal width over [0, 1]. Nuclei have probabilities above the threshold of the foreground, so
about half of the bins are used."""
GROUPS = 10
"""Groups of as many nuclei each, by rising doubt."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Predicted nuclei, what was claimed of each, and whether it is right; those of several images
    add up with ``+``."""

    probabilities: NDArray[np.floating]
    """(n,) 0 to 1."""
    disagreements: NDArray[np.floating]
    """(n,) 0 to 1."""
    right: NDArray[np.bool_]
    """(n,) matched with an annotated nucleus."""

    def __post_init__(self) -> None:
        if not len(self.probabilities) == len(self.disagreements) == len(self.right):
            raise DataError(
                "every nucleus has one probability, one disagreement and one verdict, "
                f"got {len(self.probabilities)}, {len(self.disagreements)} and {len(self.right)}"
            )

    @classmethod
    def none(cls) -> Verdicts:
        """No nucleus."""
        return cls(np.empty(0), np.empty(0), np.empty(0, np.bool_))

    def __add__(self, other: Verdicts) -> Verdicts:
        return Verdicts(
            np.concatenate([self.probabilities, other.probabilities]),
            np.concatenate([self.disagreements, other.disagreements]),
            np.concatenate([self.right, other.right]),
        )

    @property
    def doubts(self) -> dict[str, NDArray[np.floating]]:
        """(n,) each: what may point at wrong nuclei. Disagreement is left out where it is 0
        throughout: nobody disagrees."""
        doubts: dict[str, NDArray[np.floating]] = {}
        if self.disagreements.any():
            doubts["disagreement"] = self.disagreements
        doubts["one_minus_probability"] = 1 - self.probabilities
        return doubts


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Nuclei in bins of their probability; means of empty bins are NaN."""

    edges: NDArray[np.float64]
    """(bins + 1,) from 0 to 1."""
    counts: NDArray[np.int64]
    """(bins,) nuclei in each bin."""
    probabilities: NDArray[np.float64]
    """(bins,) mean probability of its nuclei."""
    right: NDArray[np.float64]
    """(bins,) share of its nuclei that are right."""

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1; NaN without nuclei. Chance alone gives about 0.4 sqrt(bins / n)."""
        used = self.counts > 0
        gaps = np.abs(self.right[used] - self.probabilities[used])
        if used.any():
            return float(np.average(gaps, weights=self.counts[used]))
        return float("nan")

    def rows(self) -> list[dict[str, float]]:
        """A line per bin that holds nuclei: from, to, nuclei, mean_probability, share_right."""
        columns = {
            "from": self.edges[:-1],
            "to": self.edges[1:],
            "nuclei": self.counts,
            "mean_probability": self.probabilities,
            "share_right": self.right,
        }
        return [{name: values[i].item() for name, values in columns.items()} for i in np.flatnonzero(self.counts)]


def reliability(probabilities: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Nuclei sorted into ``bins`` of equal width by their probability.

    Parameters
    ----------
    probabilities
        (n,) 0 to 1; a bin holds its lower edge, the last one both.
    right
        (n,) bool.

    Raises
    ------
    DataError
        A probability lies outside 0 to 1 (NaN does), or the lengths differ.

    Examples
    --------
    >>> result = reliability([0.2, 0.7, 0.9, 0.9], [False, True, True, False], bins=2)
    >>> result.counts.tolist(), result.right.round(3).tolist(), round(result.error, 3)
    ([1, 3], [0.0, 0.667], 0.175)
    """
    p, hit = checked(probabilities, right)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"probabilities must lie between 0 and 1, got {p.min():g} to {p.max():g}")
    # The last bin holds both its edges, so that a probability of 1 has a place.
    at = np.minimum((p * bins).astype(np.int64), bins - 1)
    counts = np.bincount(at, minlength=bins)
    # The mean of an empty bin is NaN, as promised.
    with np.errstate(invalid="ignore"):
        mean_probability = np.bincount(at, p, bins) / counts
        share_right = np.bincount(at, hit, bins) / counts
    return Reliability(np.arange(bins + 1) / bins, counts, mean_probability, share_right)


_EDGE = 1e-3
"""Probabilities are kept this far from 0 and 1: scores have 8 bit."""


def certainty(probabilities: ArrayLike, line: tuple[float, float]) -> NDArray[np.float32]:
    """Probabilities whose log-odds are ``slope`` times the given ones' plus ``offset`` (Platt
    1999); (1, 0) changes nothing.

    Parameters
    ----------
    probabilities
        ``(n,)`` in [0, 1].
    line
        Slope and offset, as `fit_certainty` finds them.

    Returns
    -------
    float32 ``(n,)`` in [0, 1]; the order stays where the slope is positive.

    Examples
    --------
    >>> certainty([0.5, 0.8], (1.0, 0.0)), certainty([0.5, 0.8], (0.5, 0.0)).round(3)
    (array([0.5, 0.8], dtype=float32), array([0.5  , 0.667], dtype=float32))
    """
    given = np.asarray(probabilities, np.float32)
    if line == (1.0, 0.0):
        return given
    slope, offset = line
    probabilities_right: NDArray[np.float32] = expit(slope * log_odds(given) + offset).astype(np.float32)
    return probabilities_right


def fit_certainty(probabilities: ArrayLike, right: ArrayLike) -> tuple[float, float]:
    """Slope and offset of the log-odds that make ``certainty`` most likely to give these verdicts: logistic regression.

    Parameters
    ----------
    probabilities
        ``(n,)`` what a model says of the nuclei that it predicts.
    right
        ``(n,)`` whether each is one.

    Raises
    ------
    DataError
        They are of different lengths.
    """
    p, hit = checked(probabilities, right)
    # From the line that changes nothing, which is also what the ridge pulls towards.
    slope, offset = regress_verdicts(np.stack([log_odds(p), np.ones_like(p)], axis=1), hit, np.array([1.0, 0.0]))
    return float(slope), float(offset)


def regress_verdicts(
    rows: NDArray[np.float64], right: NDArray[np.bool_], start: NDArray[np.float64], weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Logistic regression by Newton's method: what to multiply the columns by, ``(k,)``.

    Parameters
    ----------
    rows
        ``(n, k)`` what is known of each nucleus, a constant among it.
    right
        ``(n,)`` whether it is one.
    start
        ``(k,)`` where to begin, which the ridge pulls towards: it keeps verdicts that are all alike finite.
    weights
        ``(n,)`` how much each counts; None counts all alike.
    """
    counts = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    found = start.copy()

    def unlikely(tried: NDArray[np.float64]) -> float:
        """What is made smallest: minus the logarithm of the verdicts' probability, and the ridge."""
        ridge = _EDGE / 2 * ((tried - start) ** 2).sum()
        return float(counts @ np.logaddexp(0, np.where(right, -1, 1) * (rows @ tried)) + ridge)

    for _ in range(50):
        predicted = expit(rows @ found)
        spread = counts * predicted * (1 - predicted)
        curvature = (rows * spread[:, None]).T @ rows + _EDGE * np.eye(len(start))
        step = np.linalg.solve(curvature, rows.T @ (counts * (right - predicted)) - _EDGE * (found - start))
        # Where claims are far off, the curve is flat and a whole step would land beyond the other side of it.
        while unlikely(found + step) > unlikely(found) and np.abs(step).max() > _EDGE**2:
            step /= 2
        found += step
    return found


def log_odds(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-odds of probabilities ``(n,)``; 0 and 1, whose are infinite, count as a little more and less."""
    clipped = np.clip(p.astype(np.float64), _EDGE, 1 - _EDGE)
    return np.log(clipped / (1 - clipped))


def area_under_roc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Chance that a positive one scores higher than a negative one, ties counting one half; NaN without either.

    From ranks, which is the Mann-Whitney statistic: AUC = (R_+ - p (p + 1) / 2) / (p q), where R_+
    is the sum of the ranks (means within ties) of the p positive among all p + q.

    Examples
    --------
    >>> area_under_roc([0.1, 0.4, 0.4, 0.8], [False, False, True, True])
    0.875
    """
    values, hit = checked(scores, positive)
    # Python's integers: p q may be beyond what 32 bits hold.
    p = int(hit.sum())
    q = int((~hit).sum())
    if not p or not q:
        return float("nan")
    # Imported here because every segmenter imports this module for `certainty`, and scipy.stats takes half a second.
    from scipy.stats import rankdata

    return float((rankdata(values)[hit].sum() - p * (p + 1) / 2) / (p * q))


def roc_curve(scores: ArrayLike, positive: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the negative and share of the positive that score at least t, for falling t: two arrays from 0 to 1.

    One point per different score, so ties are a slanted line and the area below the curve is `area_under_roc`.
    Shares of nothing are NaN.
    """
    values, hit = checked(scores, positive)
    order = np.argsort(-values, kind="stable")
    # The last verdict of each value; NaN differs from everything, so the end is one.
    last = np.flatnonzero(np.diff(values[order], append=np.nan))
    with np.errstate(invalid="ignore"):
        shares = [np.append(0, np.cumsum(each[order])[last]) / np.float64(each.sum()) for each in (~hit, hit)]
    return shares[0], shares[1]


def share_by_group(
    scores: ArrayLike, positive: ArrayLike, *, groups: int = GROUPS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean score and share of positives in groups of (nearly) as many each, by rising score; fewer
    groups for fewer values.

    Values that tie are taken in the order in which they come.

    Examples
    --------
    >>> scores, shares = share_by_group([0.1, 0.3, 0.6, 0.8], [False, False, True, False], groups=2)
    >>> scores.round(1).tolist(), shares.tolist()
    ([0.2, 0.7], [0.0, 0.5])
    """
    values, hit = checked(scores, positive)
    # Never more groups than values, and never none, which array_split refuses.
    parts = np.array_split(np.argsort(values, kind="stable"), min(groups, len(values)) or 1)
    parts = [part for part in parts if len(part)]
    means = np.array([values[part].mean() for part in parts])
    shares = np.array([hit[part].mean() for part in parts])
    return means, shares


def checked(values: ArrayLike, flags: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both as arrays ``(n,)``, float64 and bool; raises DataError where their lengths differ."""
    numbers = np.asarray(values, np.float64)
    hit = np.asarray(flags, np.bool_)
    if numbers.ndim != 1 or numbers.shape != hit.shape:
        raise DataError(f"one number and one verdict per nucleus, got {numbers.shape} and {hit.shape}")
    return numbers, hit
