"""From score maps to instances, without a network.

Several ways in, one way out. `instances_from_distance` takes a map that is 1 at a nucleus'
innermost point and 0 at its border; `instances_from_hv` takes HoVer-Net's horizontal and vertical
maps; `instances_from_points` is given the markers; `instances_from_shape` has the foreground alone.
All but the last resort, `instances_from_pieces`, flood the foreground from one marker per nucleus,
level by level (`level_watershed`).

A nucleus must come out the same whatever crop it was seen in. So everything here is integer arithmetic on uint8 maps
with fixed scales: no minimum or maximum over the tile, no order that depends on far pixels. All ties fall in raster
order, which a crop keeps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.kernels import kernel
from wsinuc.labels import connected_pieces, fill_enclosed, pixel_counts, relabel, table_length
from wsinuc.separation.contacts import settle_contacts
from wsinuc.separation.flooding import level_watershed, split_peaks
from wsinuc.separation.joining import Joining, join_fragments
from wsinuc.separation.opening import open_labels
from wsinuc.separation.settings import WatershedSettings

__all__ = [
    "WatershedSettings",
    "instances_from_distance",
    "instances_from_hv",
    "instances_from_pieces",
    "instances_from_points",
    "instances_from_shape",
    "level_watershed",
    "split_peaks",
]

NECK_UM = 0.2
"""Two bulges of one blob are two nuclei when the neck between them is narrower than either by this many um on each
side."""

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int32]


def instances_from_distance(
    foreground: UInt8, distance: UInt8, settings: WatershedSettings, joining: Joining | None = None
) -> Labels:
    """Instances from a foreground probability and a normalised distance to the nucleus' border.

    Parameters
    ----------
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.
    distance
        uint8 ``(h, w)``, 255 = innermost point of a nucleus, 0 = border or background.
    joining
        Learned rule by which fragments are joined (`wsinuc.separation.joining`), instead of ``settings.marker_height``.

    Returns
    -------
    int32 ``(h, w)``: 0 background, 1..n in raster order, each one 4-connected piece without holes.

    Examples
    --------
    >>> foreground = np.full((5, 11), 255, np.uint8)
    >>> distance = np.tile(np.array([50, 150, 250, 150, 50, 20, 50, 150, 250, 150, 50], np.uint8), (5, 1))
    >>> settings = WatershedSettings(mpp=1.0, smoothing_um=0.0)
    >>> instances_from_distance(foreground, distance, settings)[2]
    array([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], dtype=int32)
    """
    if joining is None:
        pieces, _ = fragments(foreground, distance, settings, settings.marker_height)
        return _simple(pieces, settings)
    pieces, heights = fragments(foreground, distance, settings, joining.fragment_height)
    largest = settings.area_px(settings.max_area_um2)
    return _simple(join_fragments(pieces, heights, foreground, joining, mpp=settings.mpp, largest=largest), settings)


def fragments(foreground: UInt8, distance: UInt8, settings: WatershedSettings, height: float) -> tuple[Labels, UInt8]:
    """The foreground cut wherever two peaks of the smoothed distance rise by ``height``, and that smoothed distance.

    Maps are those of `instances_from_distance`.

    Parameters
    ----------
    height
        Rise above the saddle between two peaks from which they are apart, as a share of the map's range, 0 to 1.

    Returns
    -------
    Labels int32 ``(h, w)`` that are not dense, small ones among them, and the smoothed map, uint8 ``(h, w)``.
    """
    mask = _nuclear(foreground, settings)
    smooth = _smooth(distance, settings.taps(settings.smoothing_um))
    # Rounded up, because levels are whole numbers and a threshold is reached, not passed.
    lowest = math.ceil(255 * settings.marker_threshold)
    peaks = split_peaks(smooth, mask, lowest, math.ceil(255 * height))
    markers = relabel(peaks, settings.area_px(settings.min_marker_um2))
    return level_watershed(255 - smooth, _one_per_piece(markers, mask), mask), smooth


def instances_from_hv(foreground: UInt8, h: UInt8, v: UInt8, settings: WatershedSettings) -> Labels:
    """Instances from HoVer-Net's maps, without its normalisation by the tile's extremes.

    Where two nuclei touch, H falls from +1 to -1 along x, or V along y. The slope is measured by a Sobel-like kernel
    and scaled by what the kernel makes of exactly that fall.

    Parameters
    ----------
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.
    h, v
        uint8 ``(h, w)``, 127.5 + 127.5 times a value in [-1, 1] that grows along x (h) and along y (v); ignored
        outside the foreground, where it is 0.

    Returns
    -------
    int32 ``(h, w)``: 0 background, 1..n in raster order, each one 4-connected piece without holes.
    """
    mask = _nuclear(foreground, settings)
    taps = settings.sobel_taps
    edges = np.maximum(_falls(h, mask, taps, axis=1), _falls(v, mask, taps, axis=0))
    inner = _fill_gaps(mask & (edges < 255 * settings.edge_threshold), settings.area_px(settings.max_hole_um2)) & mask
    # HoVer-Net's opening by a 5 px ellipse at 0.25 um per pixel: thin bridges between two markers break.
    inner = ndimage.binary_opening(inner, _disc(0.5 / settings.mpp))
    pieces = connected_pieces(inner)
    markers = relabel(pieces, settings.area_px(settings.min_marker_um2))
    return _flood(_smooth(edges, 3), markers, mask, settings)


def instances_from_points(
    foreground: UInt8, distance: UInt8, points: NDArray[np.bool_], settings: WatershedSettings
) -> Labels:
    """Instances from a distance to the centroid and one point per nucleus (method C: Min, Oh, Jeong 2024).

    The foreground is flooded from the points down the distance map, then contacts are settled
    (`settle_contacts`). Points outside the foreground are ignored. A piece of foreground without a
    point is an instance of its own: the picture shows a nucleus there, though none was asked for.

    Parameters
    ----------
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.
    distance
        uint8 ``(h, w)``, 255 = the nucleus' centroid, 0 = its farthest pixels and the background.
    points
        bool ``(h, w)``, one pixel per nucleus.

    Returns
    -------
    int32 ``(h, w)``: 0 background, 1..n in raster order, each one 4-connected piece without holes.
    """
    mask = _nuclear(foreground, settings)
    at = points & mask
    markers = np.zeros(mask.shape, np.int32)
    markers[at] = np.arange(1, 1 + np.count_nonzero(at))
    labels = level_watershed(255 - _smooth(distance, 3), _one_per_piece(markers, mask), mask)
    return _simple(settle_contacts(labels, distance / 255, fixed=at), settings)


def instances_from_shape(foreground: UInt8, settings: WatershedSettings) -> Labels:
    """Instances from the outline of the foreground alone: blobs are cut at their necks (`NECK_UM`).

    The array's edge is no border: a nucleus that it cuts goes on beyond.

    Parameters
    ----------
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.

    Returns
    -------
    int32 ``(h, w)``: 0 background, 1..n in raster order, each one 4-connected piece without holes.
    """
    mask = _nuclear(foreground, settings)
    if mask.all():  # there is no border to measure from
        return _flood(np.zeros_like(foreground), np.zeros(mask.shape, np.int32), mask, settings)
    # A fixed scale: one by the deepest nucleus would depend on the crop.
    level_um = settings.max_diameter_um / 2 / 255
    depth_um = np.asarray(ndimage.distance_transform_edt(mask)) * settings.mpp
    depth = _smooth(np.minimum(depth_um / level_um, 255).astype(np.uint8), settings.taps(settings.smoothing_um))
    markers = relabel(split_peaks(depth, mask, 1, math.ceil(NECK_UM / level_um)))
    return _flood(255 - depth, markers, mask, settings)


def instances_from_pieces(foreground: UInt8, settings: WatershedSettings) -> Labels:
    """Connected pieces of the foreground; nuclei that touch are one.

    Parameters
    ----------
    foreground
        uint8 ``(h, w)``, 255 = certainly nucleus.

    Returns
    -------
    int32 ``(h, w)``: 0 background, 1..n in raster order, each one 4-connected piece without holes.
    """
    mask = _nuclear(foreground, settings)
    return _simple(connected_pieces(mask), settings)


def _nuclear(foreground: UInt8, settings: WatershedSettings) -> NDArray[np.bool_]:
    """The foreground without small gaps."""
    return _fill_gaps(foreground >= 255 * settings.foreground_threshold, settings.area_px(settings.max_hole_um2))


def _fill_gaps(mask: NDArray[np.bool_], largest: int) -> NDArray[np.bool_]:
    """Fill 4-connected gaps of at most ``largest`` pixels; those at the array's edge may go on and stay."""
    # Filling every hole, as fill_voids does, would close the lumen of a gland whose nuclei touch all around.
    gaps = connected_pieces(~mask)
    small = pixel_counts(gaps) <= largest
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        small[edge] = False
    small[0] = True  # label 0 is the mask itself
    return small[gaps]


def _flood(levels: UInt8, markers: Labels, mask: NDArray[np.bool_], settings: WatershedSettings) -> Labels:
    """Flood from the markers; a piece of foreground without any is one instance. Small ones go last."""
    return _simple(level_watershed(levels, _one_per_piece(markers, mask), mask), settings)


def _one_per_piece(markers: Labels, mask: NDArray[np.bool_]) -> Labels:
    """The markers, and each piece of the mask that has none as a marker of its own."""
    pieces = connected_pieces(mask)
    marked: Labels = _with_unmarked(markers, pieces)
    return marked


def _simple(labels: Labels, settings: WatershedSettings) -> Labels:
    """Instances in one piece without spurs or holes, numbered in raster order, without those that are too small."""
    whole = fill_enclosed(labels)
    radius = settings.opening_um / settings.mpp
    if radius >= 1:
        # Where a neck was cut, the largest piece is the nucleus.
        whole = fill_enclosed(open_labels(whole, radius))
    return relabel(whole, settings.area_px(settings.min_area_um2))


def _binomial(taps: int) -> NDArray[np.float64]:
    """Row of Pascal's triangle: a Gaussian in integers, which floats hold exactly."""
    return np.array([math.comb(taps - 1, k) for k in range(taps)], dtype=np.float64)


def _smooth(levels: UInt8, taps: int) -> UInt8:
    """Binomial smoothing, exact up to the final rounding, so that it does not depend on position."""
    if taps == 1:
        return levels
    smooth: UInt8 = _smooth_rows(levels, _binomial(taps))
    return smooth


@kernel
def _smooth_rows(levels: UInt8, weights: NDArray[np.float64]) -> UInt8:
    """Both passes row by row, so that what is read again is still in the cache; edges repeat their last pixel."""
    height, width = levels.shape
    reach = len(weights) // 2
    total = weights.sum() ** 2
    out = np.empty_like(levels)
    column = np.empty(width + 2 * reach, np.float64)
    for y in range(height):
        for x in range(width):
            column[reach + x] = 0
        for k in range(len(weights)):
            row = levels[min(max(y + k - reach, 0), height - 1)]
            for x in range(width):
                column[reach + x] += weights[k] * row[x]
        for x in range(reach):
            column[x] = column[reach]
            column[reach + width + x] = column[reach + width - 1]
        for x in range(width):
            value = 0.0
            for k in range(len(weights)):
                value += weights[k] * column[x + k]
            # Half up: rounding half to even would favour even levels.
            out[y, x] = math.floor(value / total + 0.5)
    return out


@kernel
def _with_unmarked(markers: Labels, pieces: Labels) -> Labels:
    """The markers, and each piece of foreground that holds none as one more."""
    marked = np.zeros(table_length(pieces), np.bool_)
    for y in range(markers.shape[0]):
        for x in range(markers.shape[1]):
            if markers[y, x] > 0:
                marked[pieces[y, x]] = True
    out = markers.copy()
    first = table_length(markers) - 1
    for y in range(markers.shape[0]):
        for x in range(markers.shape[1]):
            if pieces[y, x] > 0 and not marked[pieces[y, x]]:
                out[y, x] = pieces[y, x] + first
    return out


def _falls(values: UInt8, mask: NDArray[np.bool_], taps: int, axis: int) -> UInt8:
    """How steeply a signed map falls along an axis; 255 = from +1 to -1 within a pixel, along a straight edge."""
    smoothing = _binomial(taps)
    derivative = np.convolve(_binomial(taps - 2), [-1.0, 0.0, 1.0])
    # Twice the value: 127.5, the middle, has no level of its own among whole numbers.
    signed = np.where(mask, 2.0 * values - 255.0, 0.0)
    slope = ndimage.correlate1d(signed, derivative, axis=axis, mode="nearest")
    slope = ndimage.correlate1d(slope, smoothing, axis=1 - axis, mode="nearest")
    # A fall from +255 to -255 between two pixels gives this response along a straight edge.
    steepest = 2 * 255 * derivative[taps // 2 + 1 :].sum() * smoothing.sum()
    levels: UInt8 = np.floor(np.clip(-slope / steepest, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    return levels


def _disc(radius: float) -> NDArray[np.bool_]:
    """Pixels within a radius of the middle one."""
    steps = np.arange(-int(radius), int(radius) + 1)
    return np.hypot(steps[:, None], steps) <= radius
