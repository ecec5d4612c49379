"""What lies on a slide and is no tissue: strokes of a marker, folds of the section, dust on the glass.

Each function takes an image with its labels and a generator, and returns both anew. Light that
passes through several things is multiplied, so everything is drawn as a transmission in [0, 1] per
colour (Beer-Lambert), and tissue shines through thin ink as it does in a scanner.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

INKS = np.array([[0.02, 0.02, 0.03], [0.10, 0.20, 0.65], [0.08, 0.55, 0.42], [0.80, 0.05, 0.12]])
"""Transmission per RGB channel of a full layer of black, blue, green and red ink, as markers on glass show it."""
HIDDEN = 0.2
"""Below this mean transmission nobody could tell a nucleus through the thing."""
CONFUSED = 0.75
"""Below this mean transmission of the upper layer nobody could tell which layer of a fold a nucleus lies in."""


def marked(
    image: NDArray[np.uint8], labels: NDArray[np.int32], mpp: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The image with a stroke of a marker across; nuclei that nobody could see through it are no longer labelled.

    The stroke is 20 to 150 um wide, of one of the `INKS` in up to two layers, and out of focus,
    since it lies on the cover glass.
    """
    amount = _band(labels.shape, rng.uniform(10, 75) / mpp, rng)
    amount = ndimage.gaussian_filter(amount, rng.uniform(1, 8) / mpp)
    ink = INKS[rng.integers(len(INKS))] * rng.uniform(0.7, 1.2, 3)
    transmission = np.clip(ink, 0.01, 1) ** (amount[..., None] * rng.uniform(0.3, 2))
    return _through(image, transmission), _visible(labels, transmission, HIDDEN)


def folded(
    image: NDArray[np.uint8], labels: NDArray[np.int32], mpp: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The image with a fold: along a band of 5 to 30 um the tissue lies twice.

    The second layer is the image itself turned by half a circle, so it has the same dyes. Where it
    is tissue and not glass, nuclei are no longer labelled.
    """
    inside = _band(labels.shape, rng.uniform(2.5, 15) / mpp, rng)
    inside = ndimage.gaussian_filter(inside, 0.5 / mpp)
    second = image[::-1, ::-1].astype(np.float64) / 255
    transmission = 1 - inside[..., None] * (1 - second)
    return _through(image, transmission), _visible(labels, transmission, CONFUSED)


def dusty(
    image: NDArray[np.uint8], labels: NDArray[np.int32], mpp: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The image with one to six grains of dust of 2 to 15 um, grey and out of focus, some with a bright rim."""
    transmission = np.ones(labels.shape)
    for _ in range(rng.integers(1, 7)):
        grain = _blob(labels.shape, rng.uniform(1, 7.5) / mpp, rng)
        grain = ndimage.gaussian_filter(grain, rng.uniform(0.3, 2) / mpp)
        # A grain bends light: what it takes from its middle it adds around (a difference of two blurs).
        rim = ndimage.gaussian_filter(grain, 1.5 / mpp) - grain
        transmission *= 1 - rng.uniform(0.2, 0.9) * grain
        transmission += rng.uniform(0, 0.3) * np.maximum(rim, 0)
    seen_through = transmission[..., None]
    return _through(image, seen_through), _visible(labels, seen_through, HIDDEN)


ARTEFACTS: tuple[Callable[..., tuple[NDArray[np.uint8], NDArray[np.int32]]], ...] = (marked, folded, dusty)
"""What `with_artefact` chooses from."""


def with_artefact(
    image: NDArray[np.uint8], labels: NDArray[np.int32], mpp: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The image with one of the `ARTEFACTS`, each equally likely.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    labels
        int32 ``(h, w)``, 0 is background.
    mpp
        um per pixel.
    rng
        Where and what.
    """
    chosen = ARTEFACTS[rng.integers(len(ARTEFACTS))]
    return chosen(image, labels, mpp, rng)


def _visible(labels: NDArray[np.int32], transmission: NDArray[np.float64], threshold: float) -> NDArray[np.int32]:
    """Labels without what lies behind less than this mean transmission ``(h, w, channels)``."""
    return np.where(transmission.mean(axis=2) < threshold, 0, labels).astype(np.int32)


def _through(image: NDArray[np.uint8], transmission: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image seen through something ``(h, w, 1 or 3)``."""
    return np.clip(np.rint(image * transmission), 0, 255).astype(np.uint8)


def _band(shape: tuple[int, ...], half_width_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """1 inside a slightly bent band through the image, 0 outside."""
    rows, columns = np.indices(shape, dtype=np.float64)
    angle = rng.uniform(0, np.pi)
    middle = rng.uniform(0.1, 0.9, 2) * shape
    across = (rows - middle[0]) * np.cos(angle) + (columns - middle[1]) * np.sin(angle)
    along = (columns - middle[1]) * np.cos(angle) - (rows - middle[0]) * np.sin(angle)
    bend = rng.uniform(-0.5, 0.5) / max(shape)
    inside: NDArray[np.bool_] = np.abs(across + bend * along**2) < half_width_px
    return inside.astype(np.float64)


def _blob(shape: tuple[int, ...], radius_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """1 inside a round thing with three to five bumps, 0 outside."""
    rows, columns = np.indices(shape, dtype=np.float64)
    middle = rng.uniform(0, 1, 2) * shape
    away = np.hypot(rows - middle[0], columns - middle[1])
    turn = np.arctan2(rows - middle[0], columns - middle[1])
    bumps = 1 + rng.uniform(0, 0.4) * np.sin(rng.integers(3, 6) * turn + rng.uniform(0, 2 * np.pi))
    inside: NDArray[np.bool_] = away < radius_px * bumps
    return inside.astype(np.float64)
