"""The held-out loss of a generator: that of its training, of patches it does not learn from, the same ones each time.

A step's loss is a function of its number, with the crops, noise and timesteps that belong to it. So
the first few numbers under another seed, without augmentation, are a fixed measure of the averaged
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.labelled_image import Row
from wsinuc.models.devices import forward_pass
from wsinuc.models.training.loop import Inspection
from wsinuc.workflows.training.folds import LEVELS, kin_of
from wsinuc.workflows.training.session import TrainingSettings
from wsinuc.workflows.training.step_loss import StepLoss

SEED = 7_919
"""Added to the seed of a training, so that held-out patches are never training patches."""
PATCHES = 64
"""About so many are measured."""


def drawn_apart(count: int, share: float, seed: int) -> list[int]:
    """Which of ``count`` images are held out, ascending: about ``share``, at least one of several, never all."""
    apart = min(round(share * count) or int(share > 0), count - 1)
    return sorted(int(i) for i in np.random.default_rng(seed).permutation(count)[: max(0, apart)])


def set_apart(images: Sequence[LabelledImage], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Which images to learn from, and which are held out: about ``share`` of the patients, else slides, else images.

    With share 0, or a single image, all images are both: what is held out then are other patches of them.
    """
    # By name, so that the choice does not depend on the order of the images.
    order = sorted(range(len(images)), key=lambda i: images[i].name)
    kin = kin_of([_row(images[i]) for i in order], [True] * len(images))
    everything = list(range(len(images)))
    # Windows of one image may overlap, and are alike in any case.
    if kin.within == LEVELS["name"]:
        return everything, everything
    groups = dict(zip(order, kin.groups, strict=True))
    apart = set(drawn_apart(kin.count, share, seed))
    learned = [i for i in everything if groups[i] not in apart]
    return learned, [i for i in everything if groups[i] in apart] or learned


def _row(image: LabelledImage) -> Row:
    """Attributes of the image that a window was cut from, with what stands before its name to tell data sets apart."""
    folder, slash, name = image.name.rpartition("/")
    known = {attribute: value for attribute, value in image.attributes.items() if value}
    return {attribute: folder + slash + value for attribute, value in ({"name": name} | known).items()}


def held_out_loss(loss: StepLoss[Any], config: TrainingSettings) -> Inspection:
    """The measurement as part of a training: the mean of ``loss`` over the parts of about `PATCHES` patches."""
    parts = max(1, PATCHES // loss.size)

    @torch.no_grad()
    def measure(step: int) -> float:
        with forward_pass(torch.device(loss.device), config.fit.bf16):
            return sum(float(loss(part)) for part in range(parts)) / parts

    return Inspection(max(1, config.validate_every // config.batch), measure)
