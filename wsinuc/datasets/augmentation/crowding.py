"""Nuclei shown once more, beside others: crowds with known borders, which few annotated images have.

Networks learn to part nuclei that touch from those that do. Where annotations come from sparse
tissue, or leave a gap between any two nuclei, there is nothing to learn it from; so nuclei of an
image are copied, turned, and laid against others of the same image, whose stain and focus they
share (copy and paste: Ghiasi et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.orientation import dihedral

OVERLAP = 0.15
"""Share of a copy that may disappear under nuclei that were there before."""
_RIM = 3  # px around a nucleus that are copied with it and fade into the surroundings
_TRIES = 3  # directions in which a place beside a nucleus is looked for
_SOFTNESS = 0.7  # px, standard deviation of the fading: about what a scanner's optics do to an edge


@dataclass(frozen=True, slots=True, eq=False)
class _Nucleus:
    """One nucleus cut out, with a rim."""

    label: int
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def crowded(
    image: NDArray[np.uint8], labels: NDArray[np.int32], rng: np.random.Generator, share: float
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The crop with up to ``share`` times as many nuclei again; a copy keeps the number of its original.

    A copy lies beside another nucleus, never beside its original, so connected pieces of a number are single nuclei.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    labels
        int32 ``(h, w)``, 0 is background. Nuclei that the edge cuts are not copied.
    share
        Copies tried, as a share of the nuclei that can be copied.

    Returns
    -------
    tuple
        A new image and new labels of the same shapes.
    """
    image = image.copy()
    labels = labels.copy()
    windows = {
        number: window
        for number, window in enumerate(ndimage.find_objects(labels), start=1)
        if window and _inside(window, labels)  # find_objects gives None for numbers that nothing has
    }
    if len(windows) < 2:
        return image, labels
    numbers = list(windows)
    for _ in range(round(share * len(numbers))):
        donor, anchor = (int(i) for i in rng.choice(numbers, 2, replace=False))
        copy = _cut(image, labels, donor, windows[donor], int(rng.integers(8)))
        if copy is None:
            continue
        for angle in rng.uniform(0, 2 * np.pi, _TRIES):
            corner = _beside(labels, copy, windows[anchor], float(angle))
            if corner is not None:
                _paste(image, labels, copy, corner)
                break
    return image, labels


def _inside(window: tuple[slice, ...], labels: NDArray[np.int32]) -> bool:
    """Whether a box keeps away from the array's edge by the rim."""
    return all(
        side.start >= _RIM and side.stop <= extent - _RIM for side, extent in zip(window, labels.shape, strict=True)
    )


def _cut(
    image: NDArray[np.uint8], labels: NDArray[np.int32], label: int, box: tuple[slice, ...], turn: int
) -> _Nucleus | None:
    """A nucleus with its rim, turned; None where pastes have covered it."""
    window = tuple(slice(side.start - _RIM, side.stop + _RIM) for side in box)
    mask = labels[window] == label
    if not mask.any():
        return None
    return _Nucleus(label, dihedral(image[window], turn), dihedral(mask, turn))


def _beside(
    labels: NDArray[np.int32], nucleus: _Nucleus, anchor: tuple[slice, ...], angle: float
) -> tuple[int, int] | None:
    """Upper left corner of the nearest spot where the copy fits, going from the anchor's middle in a direction.

    None where it fits nowhere, or would touch a nucleus of its own number.
    """
    height, width = nucleus.mask.shape
    middle = [(side.start + side.stop) / 2 for side in anchor]
    reach = max(side.stop - side.start for side in anchor) / 2 + max(height, width) / 2
    area = np.count_nonzero(nucleus.mask)
    # Long nuclei that lie side by side are nearer to each other than half of both lengths.
    for distance in np.arange(reach / 3, reach + 1):
        y = round(middle[0] + distance * np.sin(angle) - height / 2)
        x = round(middle[1] + distance * np.cos(angle) - width / 2)
        if y < 0 or x < 0 or y + height > labels.shape[0] or x + width > labels.shape[1]:
            return None
        there = labels[y : y + height, x : x + width]
        if np.count_nonzero(there[nucleus.mask]) > OVERLAP * area:
            continue
        near = ndimage.binary_dilation(nucleus.mask, np.ones((3, 3), np.bool_))
        if (there[near] == nucleus.label).any():
            return None
        return (y, x)
    return None


def _paste(image: NDArray[np.uint8], labels: NDArray[np.int32], nucleus: _Nucleus, corner: tuple[int, int]) -> None:
    """Lay the copy under what is there, its edge faded."""
    window = tuple(slice(start, start + extent) for start, extent in zip(corner, nucleus.mask.shape, strict=True))
    visible = nucleus.mask & (labels[window] == 0)
    alpha = ndimage.gaussian_filter(visible.astype(np.float32), _SOFTNESS)[..., None]
    image[window] = np.rint(alpha * nucleus.image + (1 - alpha) * image[window]).astype(np.uint8)
    labels[window][visible] = nucleus.label
