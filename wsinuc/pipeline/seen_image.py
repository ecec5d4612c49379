"""An image that a model has seen: what it was fitted to and its scores, for another look with other cutoffs.

Scores of a model and what it fits itself to do not depend on the cutoffs of its separation
(`wsinuc.segmenters.cutoffs`), so the network need not be asked again to try several.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsinuc.pipeline.calibrate import Tissue, calibrated
from wsinuc.pipeline.scored import ScoredTile, ScoredTiles
from wsinuc.recent import Recent
from wsinuc.segmenters.base import Fitted, Segmenter
from wsinuc.slides.view import SlideView

MOST_BYTES = 512 * 2**20
"""Scores of about 500 images of 512 px; of more, those that are forgotten are made again."""


class SeenImage:
    """One image and one model, whatever its cutoffs.

    Parameters
    ----------
    memory
        Where its scores are kept; images share one.
    """

    def __init__(self, memory: Recent[ScoredTile]) -> None:
        self.tiles = ScoredTiles(memory)
        self._statistics: Mapping[str, NDArray[np.float32]] | None = None

    def fitted(self, view: SlideView, segmenter: Segmenter, tissue: Tissue) -> Segmenter:
        """The segmenter fitted to the image, which the network is asked for at the first time alone."""
        if not isinstance(segmenter, Fitted):
            return calibrated(view, segmenter, tissue)
        if self._statistics is not None:
            return segmenter.with_statistics(dict(self._statistics))
        fitted = calibrated(view, segmenter, tissue)
        assert isinstance(fitted, Fitted)  # which `calibrate` of one gives
        # Its numbers and not the fitted model, which may hold a network of its own.
        self._statistics = fitted.statistics()
        return fitted
