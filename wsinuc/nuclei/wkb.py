"""Outlines as well-known binary (WKB), the form in which GeoParquet stores polygons, and back without loss.

An outline is one ring that does not touch itself (see `wsinuc.labels`), so each polygon is a header
of 13 bytes and its closed ring. That makes thousands of them one operation on bytes, in both
directions, and nothing has to be compiled to read a table.

Coordinates are level-0 pixels, x before y. A corner of an outline is an integer in view pixels times
the downsampling, from which dividing and rounding gives back the same integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsinuc.nuclei.table import bounding_boxes

MAX_ROWS = 500_000
"""Polygons in one Arrow array, whose offsets are 32-bit; a slide's largest table takes several."""

_HEADER = np.dtype([("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("points", "<u4")])
_LITTLE_ENDIAN = 1
_POLYGON = 3
_POINT = 16
"""Bytes of a corner: two float64."""


def to_wkb(outlines: NDArray[np.int32], offsets: NDArray[np.int64], downsample: tuple[float, float]) -> pa.ChunkedArray:
    """Outlines as polygons in WKB.

    Parameters
    ----------
    outlines, offsets
        Open rings of corners (y, x) in view pixels, as `wsinuc.nuclei.Nuclei` holds them.
    downsample
        Level-0 pixels per view pixel, (y, x).

    Returns
    -------
    binary column of n polygons: closed rings of (x, y) in level-0 pixels, counterclockwise for a y axis that
    points up.
    """
    starts = range(0, len(offsets) - 1, MAX_ROWS)
    pieces = [_encode(outlines, offsets[start : start + MAX_ROWS + 1], downsample) for start in starts]
    return pa.chunked_array(pieces, pa.binary())


def from_wkb(polygons: pa.ChunkedArray, downsample: tuple[float, float]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Outlines and offsets that `to_wkb` was given.

    Raises
    ------
    ValueError
        The polygons are others: of several rings, or with corners that are none of the view's.
    """
    pieces = [_decode(chunk, downsample) for chunk in polygons.cast(pa.binary()).chunks if len(chunk)]
    if not pieces:
        return np.zeros((0, 2), np.int32), np.zeros(1, np.int64)
    lengths = np.concatenate([length for _, length in pieces])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return np.concatenate([corners for corners, _ in pieces]), offsets


def bounds(
    outlines: NDArray[np.int32], offsets: NDArray[np.int64], downsample: tuple[float, float]
) -> dict[str, NDArray[np.float64]]:
    """Bounding boxes of outlines in level-0 pixels, float64 ``(n,)`` each: xmin, ymin, xmax, ymax."""
    boxes = bounding_boxes(outlines, offsets).astype(np.float64)
    low = boxes[:, :2] * downsample
    high = boxes[:, 2:] * downsample
    return {"xmin": low[:, 1], "ymin": low[:, 0], "xmax": high[:, 1], "ymax": high[:, 0]}


def _encode(outlines: NDArray[np.int32], offsets: NDArray[np.int64], downsample: tuple[float, float]) -> pa.Array:
    corners = np.diff(offsets)
    yx = np.asarray(outlines[offsets[0] : offsets[-1]] * np.asarray(downsample, np.float64), np.float64)
    xy = _closed(yx, corners)[:, ::-1]
    # Where each polygon's bytes begin.
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(_HEADER.itemsize + _POINT * (corners + 1))])
    headers = np.zeros(len(corners), _HEADER)
    headers["order"] = _LITTLE_ENDIAN
    headers["kind"] = _POLYGON
    headers["rings"] = 1
    headers["points"] = corners + 1
    content = np.empty(ends[-1], np.uint8)
    is_point = _is_point(ends)
    content[is_point] = np.ascontiguousarray(xy, "<f8").view(np.uint8).reshape(-1)
    content[~is_point] = headers.view(np.uint8)
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.binary(), len(corners), buffers)


def _decode(polygons: pa.BinaryArray, downsample: tuple[float, float]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Corners in view pixels of one Arrow array, and how many each polygon has."""
    if polygons.null_count:
        raise ValueError("a nucleus without geometry")
    _, positions, content = polygons.buffers()
    # A slice of an array shares its memory, and begins later in it.
    ends = np.frombuffer(positions, np.int32)[polygons.offset : polygons.offset + len(polygons) + 1].astype(np.int64)
    content = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]
    ends -= ends[0]
    points, rest = np.divmod(np.diff(ends) - _HEADER.itemsize, _POINT)
    if rest.any() or (points < 2).any():
        raise ValueError("a geometry that is no polygon of one ring")
    is_point = _is_point(ends)
    headers = content[~is_point].view(_HEADER)
    plain = (headers["order"] == _LITTLE_ENDIAN) & (headers["kind"] == _POLYGON) & (headers["rings"] == 1)
    if not (plain & (headers["points"] == points)).all():
        raise ValueError("a geometry that is no polygon of one ring")
    yx = content[is_point].view("<f8").reshape(-1, 2)[:, ::-1]
    return _to_view(_opened(yx, points), np.asarray(downsample, np.float64)), points - 1


def _is_point(ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which bytes belong to corners and not to a header, bool ``(ends[-1],)``."""
    is_point = np.ones(ends[-1], np.bool_)
    is_point[ends[:-1, None] + np.arange(_HEADER.itemsize)] = False
    return is_point


def _closed(yx: NDArray[np.float64], corners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rings with their first corner again at the end."""
    lasts = np.cumsum(corners + 1) - 1
    closed = np.empty((len(yx) + len(corners), 2))
    is_corner = np.ones(len(closed), np.bool_)
    is_corner[lasts] = False
    closed[is_corner] = yx
    closed[lasts] = closed[lasts - corners]
    return closed


def _opened(yx: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rings without the last corner, which must be the first."""
    lasts = np.cumsum(points) - 1
    if not np.array_equal(yx[lasts], yx[lasts - points + 1]):
        raise ValueError("a ring that is not closed")
    is_corner = np.ones(len(yx), np.bool_)
    is_corner[lasts] = False
    return yx[is_corner]


def _to_view(yx: NDArray[np.float64], downsample: NDArray[np.float64]) -> NDArray[np.int32]:
    """Level-0 pixels to the integers that they come from."""
    with np.errstate(all="ignore"):
        corners: NDArray[Any] = np.rint(yx / downsample).astype(np.int32)
    # Also where the quotient was no number, or none of 32 bits.
    if not np.array_equal(corners * downsample, yx):
        raise ValueError("a corner that is no corner of a pixel")
    return corners
