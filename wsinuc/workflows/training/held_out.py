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
from wsinuc.models.training.loop import Inspection
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
    """Which images to learn from, and which are held out: about ``share`` of them; windows of one image stay together.

    Windows may overlap, and those of one image are alike in any case.

    With share 0, or a single image, all images are both: what is held out then are other patches of them.
    """
    # Sorted, so that the choice does not depend on the order of the images.
    names = [_whole_name(image) for image in images]
    distinct = sorted(set(names))
    apart = {distinct[i] for i in drawn_apart(len(distinct), share, seed)}
    learned = [i for i, name in enumerate(names) if name not in apart]
    return learned, [i for i, name in enumerate(names) if name in apart] or learned


def _whole_name(image: LabelledImage) -> str:
    """Name of the image that a window was cut from, with what stands before it to tell data sets apart."""
    folder, slash, name = image.name.rpartition("/")
    return folder + slash + image.attributes.get("name", name)


def held_out_loss(loss: StepLoss[Any], config: TrainingSettings) -> Inspection:
    """The measurement as part of a training: the mean of ``loss`` over the parts of about `PATCHES` patches."""
    parts = max(1, PATCHES // loss.size)

    @torch.no_grad()
    def measure(step: int) -> float:
        with torch.autocast(torch.device(loss.device).type, dtype=torch.bfloat16, enabled=config.fit.bf16):
            return sum(float(loss(part)) for part in range(parts)) / parts

    return Inspection(max(1, config.validate_every // config.batch), measure)
