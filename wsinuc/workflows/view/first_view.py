"""What the first view needs, read while the server is loaded."""

from __future__ import annotations

import numpy as np

from wsinuc.errors import WsinucError
from wsinuc.workflows.view.opened import Opened
from wsinuc.workflows.view.tiles.style import Style


def read_table(opened: Opened) -> None:
    """Read the table, if there is one and it can be read; else what is wrong is noted for the page."""
    try:
        _ = opened.table
    except (WsinucError, OSError):
        # Whoever asks next hears of it.
        return


def read_first_view(opened: Opened) -> None:
    """Draw the tiles of the whole slide; what cannot be read is noted, and said to the page."""
    try:
        opened.slide_tile(0, 0, 0)
        opened.nuclei_tile(0, 0, 0, Style())
    except (WsinucError, OSError):
        return
    # Loads the compiled loops, which the first outlines would wait for.
    from wsinuc.exports.pictures import strokes

    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    color = np.zeros((1, 3), np.uint8)
    strokes.stroke(corners, np.array([0, 3]), color, np.zeros((2, 2, 4), np.uint8), width=1.0, opacity=255)
