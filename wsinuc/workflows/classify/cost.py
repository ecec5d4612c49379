"""What learning classes of nuclei takes: every image is segmented, in its own stain and in others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.describe import DESCRIPTORS
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.classify.run import PointTrainConfig, untyped_checkpoint
from wsinuc.workflows.evaluate.run import predict_labels
from wsinuc.workflows.training.cost import TrainingCost, cost_of_parts, measured


def classify_cost(
    images: Sequence[LabelledImage],
    classes: Sequence[NucleusClass],
    base: str,
    config: PointTrainConfig,
    *,
    device: str = "auto",
) -> TrainingCost:
    """The cost of ``train_points``, from one image that is segmented for it.

    Raises
    ------
    CheckpointError
        ``base`` is no segmenter, or gives classes to whole nuclei itself.
    DataError
        There are no images.
    """
    if not images:
        raise DataError("no images with points to learn from: check the data set's filters")
    untyped_checkpoint(base)
    segmenter = load_segmenter(base, device=device)
    views = 1 + config.views
    folds = min(config.folds, len(images))
    more = ""
    if config.network is not None:
        more = f"; the {config.network.fit.steps} steps of the network come on top and are not estimated"
    return cost_of_parts(
        measured(partial(predict_labels, images[0], segmenter=segmenter)),
        len(images) * views,
        parameters=config.classifier.members * len(classes) * (len(DESCRIPTORS) + 1),
        text=f"{len(images)} images are segmented, each in {views} stains; {folds} folds of cross-validation" + more,
        what="image",
    )
