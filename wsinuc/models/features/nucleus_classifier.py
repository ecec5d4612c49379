"""The class of a whole nucleus from its descriptors: multinomial logistic regressions, several, so
that they can disagree.

Some hundred labelled nuclei bear no more: the loss is convex, so its one minimum is found and no
seed, rate or stopping rule decides anything. Members differ by the images that they have drawn
(bootstrap of whole images, because nuclei of one image are alike).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.kernels import kernel

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig:
    """How a classifier is fitted."""

    members: int = 5
    """Regressions that vote."""
    penalty: float = 0.03
    """Weight of the squared coefficients (of standardised descriptors) against the mean cross-entropy."""
    seed: int = 0
    """Seed of the bootstrap."""

    def __post_init__(self) -> None:
        if self.members < 1 or self.penalty <= 0:
            raise ConfigError(f"members must be at least 1 and the penalty above 0, got {self.members}, {self.penalty}")


@dataclass(frozen=True, slots=True, eq=False)
class NucleusClassifier:
    """Fitted regressions; every class is taken to be equally likely before the nucleus is seen."""

    mean: Float
    """(d,) of the descriptors it was fitted to."""
    scale: Float
    """(d,) their standard deviation."""
    weights: Float
    """(members, d, classes)"""
    biases: Float
    """(members, classes)"""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float], descriptors: int, classes: int) -> NucleusClassifier:
        """The classifier of so many descriptors and classes with these ``arrays``; raises CheckpointError where they do
        not fit."""
        members = len(arrays["biases"]) if "biases" in arrays else 0
        shapes = {
            "mean": (descriptors,),
            "scale": (descriptors,),
            "weights": (members, descriptors, classes),
            "biases": (members, classes),
        }
        if not members or {name: array.shape for name, array in arrays.items()} != shapes:
            raise CheckpointError("the classifier's weights do not fit their own header: the file is damaged")
        return cls(**arrays)

    @property
    def arrays(self) -> dict[str, Float]:
        """Everything fitted, by name, each contiguous."""
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}

    def __call__(self, descriptors: Float) -> tuple[Float, Float]:
        """Probabilities and disagreement of the members.

        Parameters
        ----------
        descriptors
            float64 ``(n, d)``.

        Returns
        -------
        probabilities
            ``(n, classes)``, the members' mean.
        disagreement
            ``(n,)`` their Jensen-Shannon divergence / log 2, 0 to 1 (as that of pixel classifiers).
        """
        standard = np.ascontiguousarray((descriptors - self.mean) / self.scale)
        mean, disagreement = _vote(standard, np.ascontiguousarray(self.weights), np.ascontiguousarray(self.biases))
        return mean, disagreement


def fit_classifier(
    descriptors: Float, classes: NDArray[np.intp], images: NDArray[np.intp], count: int, config: ClassifierConfig
) -> NucleusClassifier:
    """Fit to labelled nuclei.

    Parameters
    ----------
    descriptors
        float64 ``(n, d)``.
    classes
        ``(n,)`` 0 to ``count`` - 1; one that no nucleus has is hardly ever given.
    images
        ``(n,)`` number of the image that each comes from.
    count
        Number of classes.

    Returns
    -------
    NucleusClassifier
        The same for the same nuclei and seed.

    Examples
    --------
    >>> size = np.array([[1.0], [1.2], [3.0], [3.3]])
    >>> classifier = fit_classifier(size, np.array([0, 0, 1, 1]), np.zeros(4, int), 2, ClassifierConfig(members=1))
    >>> classifier(np.array([[0.9], [3.1]]))[0].argmax(axis=1)
    array([0, 1])
    """
    mean = descriptors.mean(axis=0)
    scale = descriptors.std(axis=0)
    # A descriptor that never varies says nothing, whatever it is divided by.
    scale[scale < 1e-12] = 1.0
    standard = (descriptors - mean) / scale
    rng = np.random.default_rng(config.seed)
    numbers = np.unique(images)
    draws_of_members = []
    for _ in range(config.members):
        # How often each nucleus counts; a single member sees every one once.
        times = np.ones(len(images))
        if config.members > 1:
            # Whole images are drawn: nuclei of one image are alike, and would make the members agree too much.
            draws = np.bincount(rng.choice(len(numbers), len(numbers)), minlength=len(numbers))
            times = draws[np.searchsorted(numbers, images)].astype(float)
        draws_of_members.append(times)
    return fit_members(standard, mean, scale, classes, np.stack(draws_of_members), count, config.penalty)


def fit_members(
    standard: Float,
    mean: Float,
    scale: Float,
    classes: NDArray[np.intp],
    times: Float,
    count: int,
    penalty: float,
) -> NucleusClassifier:
    """A classifier of a regression for each row of ``times``.

    Parameters
    ----------
    standard
        float64 ``(n, d)``: descriptors minus ``mean`` ``(d,)``, divided by ``scale`` ``(d,)``.
    classes
        ``(n,)`` 0 to ``count`` - 1.
    times
        float64 ``(members, n)``, how often each nucleus counts.
    penalty
        See `ClassifierConfig`.
    """
    coefficients = np.stack([_regression(standard, classes, each, count, penalty) for each in times])
    return NucleusClassifier(mean, scale, coefficients[:, :-1], coefficients[:, -1])


def _regression(x: Float, classes: NDArray[np.intp], times: Float, count: int, penalty: float) -> Float:
    """Coefficients ``(d + 1, count)``, the bias last, with every class weighing the same in total."""
    of_class = np.bincount(classes, times, minlength=count)
    # Rare classes weigh as much as frequent ones; how frequent they are differs from slide to slide.
    weight = times / np.maximum(of_class, 1e-9)[classes]
    weight /= weight.sum()
    truth = np.eye(count)[classes]

    def loss(flat: Float) -> tuple[float, Float]:
        w = flat.reshape(-1, count)
        z = x @ w[:-1] + w[-1]
        # So that exp does not overflow; the softmax stays the same.
        z -= z.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(z).sum(axis=1, keepdims=True))
        error = (np.exp(z - log_sum) - truth) * weight[:, None]
        value = -(weight * ((z - log_sum) * truth).sum(axis=1)).sum() + penalty / 2 * (w[:-1] ** 2).sum()
        return value, np.concatenate([x.T @ error + penalty * w[:-1], error.sum(axis=0)[None]]).ravel()

    start = np.zeros((x.shape[1] + 1) * count)
    fit = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    coefficients: Float = fit.x.reshape(-1, count)
    return coefficients


@kernel
def _vote(x: Float, weights: Float, biases: Float) -> tuple[Float, Float]:
    """Nucleus by nucleus: a matrix product's last bits would depend on how many nuclei there are."""
    members, width, classes = weights.shape
    mean = np.zeros((len(x), classes))
    disagreement = np.zeros(len(x))
    p = np.empty(classes)
    for i in range(len(x)):
        own_entropy = 0.0
        for m in range(members):
            highest = -np.inf
            for c in range(classes):
                p[c] = biases[m, c]
                for k in range(width):
                    p[c] += x[i, k] * weights[m, k, c]
                highest = max(highest, p[c])
            total = 0.0
            for c in range(classes):
                p[c] = math.exp(p[c] - highest)
                total += p[c]
            for c in range(classes):
                p[c] /= total
                mean[i, c] += p[c] / members
            own_entropy += _entropy(p) / members
        # Rounding may leave the difference a little below 0.
        disagreement[i] = min(1.0, max(0.0, _entropy(mean[i]) - own_entropy) / math.log(2.0))
    return mean, disagreement


@kernel
def _entropy(p: Float) -> float:
    """Entropy in nats of probabilities ``(classes,)``."""
    total = 0.0
    for value in p:
        if value > 0:
            total -= value * math.log(value)
    return total
