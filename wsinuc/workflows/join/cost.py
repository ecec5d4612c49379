"""What learning to join fragments takes: crops that the model scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from wsinuc.datasets.base import LabelledImage
from wsinuc.segmenters import load_segmenter
from wsinuc.separation.joining import DESCRIPTORS
from wsinuc.workflows.distill.teacher import Teaching
from wsinuc.workflows.join.run import JoiningFit, score_crops
from wsinuc.workflows.training.cost import TrainingCost, cost_of_parts, measured


def join_cost(images: Sequence[LabelledImage], model: str, config: JoiningFit, *, device: str = "auto") -> TrainingCost:
    """The cost of ``train_joining``, from one crop that is scored for it.

    Raises
    ------
    CheckpointError
        ``model`` is no segmenter.
    ConfigError
        It separates in another way than by distance.
    """
    segmenter = cast(Teaching, load_segmenter(model, device=device))
    one = replace(config, crops=1)
    return cost_of_parts(
        measured(lambda: score_crops(segmenter, images, one)),
        config.crops,
        parameters=len(DESCRIPTORS) + 1,
        text=f"{config.crops} crops are scored and cut into fragments",
        what="crop",
    )
