"""What the watershed's maps should be for known instances: the targets that networks are trained on.

Targets are computed from labels *after* augmentation, never flipped or rotated themselves: H changes its sign under a
flip, and copying its pixels would not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.synthesis.structures import hv_maps

__all__ = ["centre_distance", "contact_weights", "hv_maps", "map_targets"]

REACH = 3
"""Standard deviations beyond which a neighbour does not count: exp(-3^2 / 2) is 0.01 of the weight."""


def centre_distance(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Distance to the own border over its maximum in the nucleus: 1 at the innermost pixels, towards 0 at the border.

    Distances run from pixel centres to the crack between the nucleus and its surroundings, so a border pixel has 0.5
    px before it is divided. The array's edge is no border: a nucleus that it cuts goes on beyond.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.

    Returns
    -------
    float32 ``(h, w)`` in [0, 1], 0 in the background.

    Examples
    --------
    >>> centre_distance(np.array([[0, 1, 1, 1, 2]], dtype=np.int32)).round(2)
    array([[0.  , 0.33, 1.  , 0.33, 1.  ]], dtype=float32)
    """
    target = np.zeros(labels.shape, np.float32)
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        # One pixel more on each side, so that the border is seen where the nucleus fills its box.
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in place)
        mask = labels[around] == label
        if mask.all():  # it fills the array: there is no border to measure from
            target[around] = 1.0
            continue
        distance = np.asarray(ndimage.distance_transform_edt(mask)) - 0.5
        target[around][mask] = distance[mask] / distance.max()
    return target


def map_targets(labels: NDArray[np.int32], separation: str) -> NDArray[np.float32]:
    """The maps that a way of separation needs, float32 ``(maps, h, w)``: H and V for ``hv``, else the centre distance.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.
    separation
        ``hv`` or ``distance``.
    """
    if separation == "hv":
        return hv_maps(labels)
    return centre_distance(labels)[None]


def contact_weights(
    labels: NDArray[np.int32], mpp: float, *, strength: float, sigma_um: float = 0.75
) -> NDArray[np.float32]:
    """How much each pixel's error counts: more where two nuclei are near, for that is where they are fused or cut.

    ``1 + strength * exp(-(d1 + d2)^2 / (2 sigma^2))`` with the distances to the nearest and the
    second nearest nucleus, the weight map of U-Net (Ronneberger et al. 2015, eq. 2) without its
    balance of the classes. Inside a nucleus d1 is 0.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, 0 is background.
    mpp
        um per pixel.
    strength
        Weight of a contact beside 1 elsewhere.
    sigma_um
        How far a contact reaches, in um.

    Returns
    -------
    float32 ``(h, w)``, from 1 to ``1 + strength``.

    Examples
    --------
    >>> labels = np.array([[1, 0, 2, 0, 0, 0]], np.int32)
    >>> contact_weights(labels, mpp=0.25, strength=4.0).round(1)
    array([[4.2, 4.2, 4.2, 2.6, 1.5, 1.1]], dtype=float32)
    """
    if not strength:
        return np.ones(labels.shape, np.float32)
    # Infinite until a nucleus comes within reach: exp(-inf) is 0, so far pixels have the weight 1.
    nearest = np.full(labels.shape, np.inf, np.float32)
    second = nearest.copy()
    reach = math.ceil(REACH * sigma_um / mpp)
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        around = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in place)
        distance = np.asarray(ndimage.distance_transform_edt(labels[around] != label), np.float32)
        second[around] = np.minimum(second[around], np.maximum(nearest[around], distance))
        nearest[around] = np.minimum(nearest[around], distance)
    together = (nearest + second) * mpp / sigma_um
    return (1 + strength * np.exp(-(together**2) / 2)).astype(np.float32)
