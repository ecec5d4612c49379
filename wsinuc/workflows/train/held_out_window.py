"""An annotated window as a model sees it that has not learned from it: scored once, then cut into nuclei at will.

The window takes the path of ``segment``: it becomes a slide in memory, is read at the model's
resolution, and goes through the block task. Its scores are kept, so that thresholds can be tried
without asking the network again.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsinuc import tissue
from wsinuc.datasets.augmentation.augment import parted, resized
from wsinuc.datasets.base import LabelledImage
from wsinuc.grid import Block, Box, ceil_div
from wsinuc.pipeline.block import process_block, score_box
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.pipeline.scored import MOST_BYTES, ScoredTile, ScoredTiles
from wsinuc.recent import Recent
from wsinuc.segmenters.base import Certainty
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.separation.channels import DISAGREEMENT
from wsinuc.separation.settings import WatershedSettings
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import SlideView
from wsinuc.tissue import TissueMask
from wsinuc.workflows.evaluate.ignored import counted
from wsinuc.workflows.evaluate.predictions import Prediction, prediction_of

Model = TypeVar("Model", bound=TiledSegmenter)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutWindow:
    """One window and what a model says of it; see `hold_out`."""

    image: LabelledImage
    fold: int
    """Which of the models of a cross-validation it is: the one that has not seen this fold."""
    scores: NDArray[np.uint8]
    """``(channels, h, w)`` at the model's resolution."""
    labels: NDArray[np.int32]
    """``(h, w)`` the annotation at that resolution, without what is ignored."""
    ignore: NDArray[np.bool_]
    """``(h, w)`` pixels that count in no score."""
    segmenter: TiledSegmenter
    """The model, fitted to the window as ``segment`` fits it to a slide."""
    view: SlideView
    mask: TissueMask
    scored: ScoredTiles

    @property
    def doubt(self) -> NDArray[np.uint8]:
        """``(h, w)`` the members' disagreement at the model's resolution, 255 is the most."""
        doubt: NDArray[np.uint8] = self.scores[DISAGREEMENT]
        return doubt

    def separated(self, settings: WatershedSettings) -> NDArray[np.int32]:
        """Predicted labels ``(h, w)`` at the model's resolution, without what is ignored."""
        return counted(with_settings(self.segmenter, settings).separate(self.scores), self.ignore)

    def predict(self, settings: WatershedSettings) -> Prediction:
        """The nuclei at the window's own resolution, with probabilities as they are before any correction."""
        segmenter = with_settings(self.segmenter, settings)
        whole = Box.of_shape(self.view.shape)
        block = Block(index=0, core=whole, read=whole)
        found = process_block(
            self.view,
            block,
            segmenter,
            batch_size=segmenter.batch_size,
            tissue=self.mask,
            gate=Lock(),
            scored=self.scored,
        )
        return prediction_of(found.nuclei, self.image.labels.shape, classes=bool(segmenter.classes))


def hold_out(image: LabelledImage, segmenter: TiledSegmenter, fold: int) -> HeldOutWindow:
    """Score a window by a model that has not seen it."""
    view = ArraySlide(image.image, mpp=image.mpp).at(segmenter.mpp)
    mask = tissue.whole(view)
    fitted = calibrated(view, _with_small_tiles(segmenter, max(view.shape)), mask)
    assert isinstance(fitted, TiledSegmenter)  # which `calibrate` of one gives
    scored = ScoredTiles(Recent[ScoredTile](MOST_BYTES))
    whole = Box.of_shape(view.shape)
    scores = score_box(view, whole, fitted, batch_size=fitted.batch_size, tissue=mask, scored=scored)
    labels, ignore = parted(resized(image, Box.of_shape(image.labels.shape), view.shape)[1])
    return HeldOutWindow(
        image=image,
        fold=fold,
        scores=scores,
        labels=counted(labels, ignore),
        ignore=ignore,
        segmenter=fitted,
        view=view,
        mask=mask,
        scored=scored,
    )


def with_settings(segmenter: Model, watershed: WatershedSettings, certainty: Certainty = (1.0, 0.0)) -> Model:
    """The same network with other settings of what follows it."""
    other = copy.copy(segmenter)
    other.config = replace(segmenter.config, watershed=watershed, certainty=certainty)
    return other


def _with_small_tiles(segmenter: TiledSegmenter, side: int) -> TiledSegmenter:
    """Tiles no larger than the window needs: a network input of 512 px for a window of 256 wastes most of it."""
    own = segmenter.tile - 2 * segmenter.margin
    return segmenter.with_core(min(own, segmenter.grain * ceil_div(side, segmenter.grain)))
