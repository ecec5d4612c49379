"""Optical density of haematoxylin and eosin: from RGB by three-channel unmixing, as QuPath and scikit-image do it.

A pixel's optical density in each channel is ``-log10(max(value, 1) / 255)``. The densities of the two stains are what
the stain vectors must be multiplied with to give it (Ruifrok & Johnston 2001, doi:10.1097/00129039-200103000-00014); a
third vector at right angles to both takes what neither explains. Densities are not cut at 0: where a pixel is bluer
than the haematoxylin vector its eosin is below 0, as in QuPath.

Densities are whole numbers of 0.001 from tables of integers, so a pixel has the same ones in whatever array it lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.kernels import kernel

PER_OD = 1000
"""Levels per unit of optical density."""
FINER = 10
"""Bits of a table's entry below a level, so that rounding adds up to half a level and no more."""
BRIGHTEST = 0.15
"""Optical density (length of the three channels') below which a pixel is glass, and says nothing about stains."""
TAIL = 1.0
"""Per cent of the pixels beyond each of the two fitted vectors."""
FEWEST = 1000
"""Stained pixels from which vectors are fitted; of fewer nobody should."""

Component = Annotated[float, Meta(ge=-1.0, le=1.0)]
Vector = tuple[Component, Component, Component]


@dataclass(frozen=True, slots=True)
class StainVectors:
    """Which colours haematoxylin and eosin are taken to have.

    Raises
    ------
    ConfigError
        A vector has no length, or both point the same way.
    """

    name: str
    """``qupath``, ``ruifrok`` or ``fitted``."""
    haematoxylin: Vector
    """Optical densities of R, G and B; of any length, their ratio counts."""
    eosin: Vector
    """The same of eosin."""

    def __post_init__(self) -> None:
        both = np.array([self.haematoxylin, self.eosin])
        lengths = np.linalg.norm(both, axis=1)
        if lengths.min() == 0 or np.linalg.norm(np.cross(*(both / np.maximum(lengths, 1e-12)[:, None]))) < 1e-3:
            raise ConfigError(f"the stain vectors {self.haematoxylin} and {self.eosin} do not tell two stains apart")


QUPATH = StainVectors("qupath", (0.65111, 0.70119, 0.29049), (0.2159, 0.8012, 0.5581))
RUIFROK = StainVectors("ruifrok", (0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
FIXED = {vectors.name: vectors for vectors in (QUPATH, RUIFROK)}
"""Vectors that do not depend on the slide: QuPath's "H&E default", and those of scikit-image's ``rgb2hed``."""


def optical_density(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Optical density of every channel, float64 of the same shape, 0 (white) to 2.41.

    Examples
    --------
    >>> optical_density(np.array([255, 26, 0], np.uint8)).round(2).tolist()
    [0.0, 0.99, 2.41]
    """
    table = -np.log10(np.maximum(np.arange(256), 1) / 255.0) + 0.0
    return table[pixels]


def density_tables(vectors: StainVectors) -> NDArray[np.int32]:
    """What each value of R, G and B adds to the density of haematoxylin and of eosin.

    Returns
    -------
    int32 ``(2, 3, 256)`` in units of ``1 / (PER_OD << FINER)``; see `density_level`.
    """
    stains = np.array([vectors.haematoxylin, vectors.eosin])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    rest = np.cross(stains[0], stains[1])
    unmix = np.linalg.inv(np.stack([*stains, rest / np.linalg.norm(rest)]))
    density = optical_density(np.arange(256).astype(np.uint8))
    # Two vectors that are nearly one make large numbers, which no real stains have.
    shares = np.clip((PER_OD << FINER) * unmix.T[:2, :, None] * density, -(2**28), 2**28)
    return np.rint(shares).astype(np.int32)


@kernel
def density_level(table: NDArray[np.int32], red: int, green: int, blue: int) -> int:
    """A pixel's density of one stain in levels of ``1 / PER_OD``, rounded; for other kernels."""
    level: int = (np.int64(table[0, red]) + table[1, green] + table[2, blue] + (1 << (FINER - 1))) >> FINER
    return level


def fit_stains(samples: NDArray[np.uint8]) -> StainVectors | None:
    """The vectors of a slide by samples of its tissue (Macenko et al. 2009, doi:10.1109/ISBI.2009.5193250).

    The densities of stained pixels lie in the plane of their two main directions; there, the stains are the outermost
    directions but for `TAIL` per cent of the pixels on each side.

    Parameters
    ----------
    samples
        RGB ``(..., 3)``.

    Returns
    -------
    StainVectors named ``fitted``, haematoxylin the one that takes more of the red light; None where there are fewer
    than `FEWEST` stained pixels, or they all have one colour.
    """
    density = optical_density(samples.reshape(-1, 3))
    # Eosin lets nearly all red light through, so no single channel tells it from glass.
    density = density[(density**2).sum(axis=1) >= BRIGHTEST**2]
    if len(density) < FEWEST:
        return None
    centred = density - density.mean(axis=0)
    # Sums of products, not a matrix product: the order of that depends on the number of threads.
    covariance = np.array([[(centred[:, i] * centred[:, j]).sum() for j in range(3)] for i in range(3)])
    plane = np.linalg.eigh(covariance)[1][:, [2, 1]]
    # Directions have no sign; both are to point to where densities are positive.
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    across, along = (sum(density[:, k] * plane[k, axis] for k in range(3)) for axis in (1, 0))
    low, high = np.percentile(np.arctan2(across, along), [TAIL, 100 - TAIL])
    ends = [plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in (low, high)]
    red, other = sorted((end / np.linalg.norm(end) for end in ends), key=lambda end: -end[0])
    try:
        return StainVectors("fitted", rounded_vector(red), rounded_vector(other))
    except ConfigError:
        return None


def rounded_vector(values: NDArray[np.floating]) -> Vector:
    """A stain's vector ``(3,)`` as it is written down, with five digits."""
    red, green, blue = (round(float(value), 5) for value in values)
    return red, green, blue
