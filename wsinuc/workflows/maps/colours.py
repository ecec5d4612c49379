"""Values of a map as colours, and the numbers beside their scale: the same in a picture and in the viewer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.workflows.maps.nuclei_map import NucleiMap
from wsinuc.workflows.maps.quantity import DENSITY

COLORMAP = "viridis"


def colours_of(values: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """RGB (..., 3) of values between the limits; those beyond take the colour of the limit."""
    # Takes a quarter of a second, which a viewer without maps does not wait for.
    from matplotlib import colormaps

    low, high = limits
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    rgba: NDArray[np.uint8] = colormaps[COLORMAP](share, bytes=True)
    return rgba[..., :3]


def coloured_squares(nuclei_map: NucleiMap) -> NDArray[np.uint8]:
    """RGBA ``(rows, columns, 4)`` of the squares; those without nuclei are transparent, the others opaque."""
    squares = np.empty((*nuclei_map.values.shape, 4), np.uint8)
    squares[..., :3] = colours_of(nuclei_map.values, nuclei_map.limits)
    shown = np.isfinite(nuclei_map.values)
    if nuclei_map.quantity.of == DENSITY:
        # Glass is left as it is; a share of nothing, on the other hand, is a finding.
        shown &= nuclei_map.values > 0
    squares[..., 3] = np.where(shown, 255, 0)
    return squares


def scale_labels(nuclei_map: NucleiMap, count: int) -> list[str]:
    """Numbers beside the scale from low to high; the outermost say so where values lie beyond them."""
    low, high = nuclei_map.limits
    labels = [_number(value, high - low) for value in np.linspace(low, high, count).tolist()]
    known = nuclei_map.values[np.isfinite(nuclei_map.values)]
    if np.any(known < low):
        labels[0] = f"≤ {labels[0]}"
    if np.any(known > high):
        labels[-1] = f"≥ {labels[-1]}"
    return labels


def _number(value: float, span: float) -> str:
    """A value beside the bar, with as many digits as tell it from the next.

    Examples
    --------
    >>> _number(1234.4, 5000.0), _number(0.25, 1.0), _number(31.24, 8.0)
    ('1,234', '0.25', '31.2')
    """
    if span >= 100:
        return f"{value:,.0f}"
    if span > 4:
        return f"{value:.1f}"
    return f"{value:.2f}"
