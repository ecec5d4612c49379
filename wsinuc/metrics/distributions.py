"""How far one set of images, or of nuclei, is from another: distances between distributions, not between pairs.

Rows are images (features of a network, or shares of classes), and no image has a partner in the other set. Every
distance here is estimated from samples, and that matters:

* `frechet_distance` is biased upwards, the more so the fewer images and the wider the features: two
  halves of one set are not at 0. Figures compare only between sets of the same sizes, so whoever
  reports one reports the number of images.
* `kernel_distance` has no such bias and is the figure to trust for a few hundred images; it can come out below 0.
* `inception_score` knows nothing of the real images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsinuc.errors import ConfigError, DataError


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Squared Frechet distance of the Gaussians with the two sets' means and covariances (Heusel et al. 2017: FID).

    ``|m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^1/2)``, covariances divided by n - 1. On shares of classes in percent
    (`class_proportions` times 100) it is FSD (Bau et al. 2019).

    With centred rows ``S = X^T X`` the eigenvalues of ``S_a S_b`` are the squared singular values
    of ``X_a X_b^T``, so the trace of the root is the sum of these. No root of a matrix is taken:
    fewer images than features, where covariances are singular, are no special case, and nothing
    complex is left over.

    Parameters
    ----------
    features_a, features_b
        ``(n, d)`` and ``(m, d)``, n and m at least 2.

    Returns
    -------
    At least 0; symmetric; does not depend on the order of rows. The bias is of the order of d / n.

    Raises
    ------
    DataError
        A set has fewer than two rows, so no covariance; widths differ; a value is no number.

    Examples
    --------
    >>> frechet_distance([[0.0], [2.0]], [[5.0], [7.0]])
    25.0
    """
    a, b = _checked(features_a, features_b)
    mean_a, root_a = _moments(a)
    mean_b, root_b = _moments(b)
    # The trace of (C_a C_b)^(1/2) without a matrix root, which is unstable for singular covariances.
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * shared
    # Rounding may leave a little less than nothing of equal sets.
    return max(0.0, float(distance))


def _moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean ``(d,)``, and R ``(min(n, d), d)`` with ``R^T R`` the unbiased covariance."""
    mean = features.mean(axis=0)
    return mean, np.asarray(np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r"))


def kernel_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x y / d + 1)^3`` (Binkowski et al. 2018: KID).

    All rows are used at once, where public code averages over subsets. Parameters and errors are
    those of `frechet_distance`.

    Returns
    -------
    0 on average for samples of one distribution, whatever n; a little below 0 is possible.

    Examples
    --------
    >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]])
    7.0
    """
    a, b = _checked(features_a, features_b)
    return float(_mean_between_rows(a) + _mean_between_rows(b) - 2 * _cubic_kernel(a, b).mean())


def _cubic_kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(x y / d + 1)^3`` of every row of x with every row of y."""
    kernel: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _mean_between_rows(x: NDArray[np.float64]) -> float:
    """Mean kernel of two different rows: without the diagonal, which is what makes the estimate unbiased."""
    kernel = _cubic_kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def inception_score(probabilities: ArrayLike, splits: int = 10) -> tuple[float, float]:
    """``exp(mean KL(p(y|x) || p(y)))`` (Salimans et al. 2016), mean and standard deviation over splits.

    Parameters
    ----------
    probabilities
        ``(n, classes)``, rows sum to 1; rows are taken in their order, so shuffle sorted sets first.
    splits
        Parts that are scored on their own. Papers use 10 of 5000 images each; the score of a small part is too low, so
        with a few thousand images take 1, and say so. The deviation of one part is 0.

    Returns
    -------
    Mean from 1 (every image has the same classes) to the number of classes, and standard deviation.

    Raises
    ------
    ConfigError
        There are fewer images than splits.
    DataError
        Rows are no probabilities.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise DataError(f"expected one row of class probabilities per image, each summing to 1; got shape {p.shape}")
    if not 1 <= splits <= len(p):
        raise ConfigError(f"{len(p)} images cannot be scored in {splits} splits: give 1 to {len(p)}")
    scores = [_score(part) for part in np.array_split(p, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(p: NDArray[np.float64]) -> float:
    # p log p is 0 where p is 0.
    log = np.log(np.where(p > 0, p, 1.0))
    marginal = p.mean(axis=0)
    divergence = (p * (log - np.log(np.where(marginal > 0, marginal, 1.0)))).sum(axis=1)
    return float(np.exp(divergence.mean()))


def class_proportions(class_map: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Share of an image's pixels that is background and of each class, ``(classes + 1,)``.

    Parameters
    ----------
    class_map
        ``(h, w)`` 0 is background, classes are counted from 1; negative where the class is not known, which counts
        for no class, so that shares then sum to less than 1.

    Raises
    ------
    DataError
        A class is larger than ``classes``, or the map is empty.

    Examples
    --------
    >>> class_proportions(np.array([[0, 0], [2, -1]]), 2).tolist()
    [0.5, 0.0, 0.25]
    """
    if class_map.size == 0 or class_map.max() > classes:
        raise DataError(f"expected a map of pixels with classes up to {classes}, got {class_map.max(initial=0)}")
    return np.bincount(class_map[class_map >= 0].ravel(), minlength=classes + 1) / class_map.size


def relative_difference(real: float, synthetic: float) -> float:
    """``(synthetic - real) / real``; NaN where ``real`` is 0 or either is no number.

    Examples
    --------
    >>> relative_difference(40.0, 46.0)
    0.15
    """
    if real:
        return (synthetic - real) / real
    return float("nan")


def _checked(features_a: ArrayLike, features_b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # In float64: covariances of thousands of features cancel in fp32.
    a = np.asarray(features_a, np.float64)
    b = np.asarray(features_b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise DataError(f"expected two sets of features (images, width) of one width, got {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2:
        raise DataError(f"a distance between sets needs at least two images in each, got {len(a)} and {len(b)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("features hold values that are no numbers: check the feature network's weights")
    return a, b
