"""One network of a model, tuned on annotated windows without forgetting the rest.

Crops of the windows teach what is annotated; crops of the tissue around them, or of other tissue, teach what the
model said of it before, so that it stays as it is where nobody complained (learning without forgetting: Li & Hoiem
2016). The teacher is the whole model, which knows more than any one of its networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.patches import Prefetcher
from wsinuc.grid import Box
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import Progress, fit
from wsinuc.segmenters.normalisation import recoloured
from wsinuc.separation.soft_targets import SoftTarget
from wsinuc.workflows.adapt.batches import Cut, Lessons, Planes, Task
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.adapt.networks import Learner, Part, Weights, learner_of
from wsinuc.workflows.adapt.sight import Sight
from wsinuc.workflows.train.network_loss import Targets, make_targets, unet_loss
from wsinuc.workflows.train.soft_crops import soft_loss


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """A field and what the untuned model says of it."""

    sight: Sight
    scores: NDArray[np.uint8]
    """``(channels, h, w)``; empty, ``(0, 0, 0)``, where there is no tissue outside of windows."""

    @classmethod
    def of(cls, sight: Sight, side: int) -> Taught:
        """Scored where a square of this side fits beside the windows."""
        if not squares_beside(sight.field.pixels.shape[:2], sight.field.annotated, side):
            return cls(sight, np.zeros((0, 0, 0), np.uint8))
        return cls(sight, sight.scores())


def lessons_of(taught: Sequence[Taught], part: Part, held_out: frozenset[str], side: int) -> Lessons:
    """What a network learns when the windows of these names are held out.

    Parameters
    ----------
    side
        Of the squares of tissue, in pixels of what the network sees.
    """
    labelled = []
    squares = []
    for each in taught:
        pixels = recoloured(each.sight.field.pixels, each.sight.colours)
        for size in each.sight.sizes(part):
            labelled += _labelled(each.sight, size, held_out)
            squares += _squares(each, pixels, size, side)
    return Lessons(tuple(labelled), tuple(squares))


def _labelled(sight: Sight, size: Fraction, held_out: frozenset[str]) -> list[LabelledImage]:
    """The windows in their own pixels, in the colours and the size that the network sees."""
    table = sight.colours
    return [
        # Coarser pixels than they are make crops of the window larger.
        replace(image, image=recoloured(image.image, table), mpp=image.mpp * float(size))
        for image in (window.image for window in sight.field.windows)
        if image.name not in held_out
    ]


def _squares(taught: Taught, pixels: NDArray[np.uint8], size: Fraction, side: int) -> list[Planes]:
    """Squares beside all that is annotated, also windows that are held out."""
    if not taught.scores.size:
        return []
    planes = np.concatenate([np.moveaxis(pixels, 2, 0), taught.scores])
    height, width = (round(extent * size) for extent in pixels.shape[:2])
    if size != 1:
        planes = np.stack([np.asarray(Image.fromarray(p).resize((width, height), _BILINEAR)) for p in planes])
    annotated = [_sized(box, size) for box in taught.sight.field.annotated]
    return [planes[:, *box.slices] for box in squares_beside((height, width), annotated, side)]


_BILINEAR = Image.Resampling.BILINEAR


def _sized(box: Box, size: Fraction) -> Box:
    y0, x0, y1, x1 = (round(value * size) for value in (box.y0, box.x0, box.y1, box.x1))
    return Box(y0, x0, y1, x1)


def squares_beside(shape: tuple[int, ...], windows: Sequence[Box], side: int) -> list[Box]:
    """Squares of an image that overlap no window, half a side apart.

    Examples
    --------
    >>> squares_beside((4, 8), [Box(0, 0, 4, 3)], 4)
    [Box(y0=0, x0=4, y1=4, x1=8)]
    """
    starts = [[*range(0, extent - side, max(1, side // 2)), extent - side] for extent in shape]
    if min(shape) < side:
        return []
    boxes = [Box(y, x, y + side, x + side) for y in starts[0] for x in starts[1]]
    return [box for box in boxes if not any(box.overlaps(window) for window in windows)]


def tune(
    part: Part,
    batches: Cut,
    config: AdaptConfig,
    *,
    task: Task,
    state: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
) -> Weights:
    """The network's weights after its lessons, a moving average, on the CPU.

    Parameters
    ----------
    batches
        What each step learns from.
    state
        File that the training may use.
    """
    torch.manual_seed(config.seed)
    learner = learner_of(part, device)
    # A thread cuts the next batch while this one is learned from.
    with closing(Prefetcher(batches, threads=1)) as cut:
        loss = _loss(learner, cut, config, task, device)
        tuned = fit(learner.module, loss, config.fit, state=state, on_progress=on_progress, images=config.labelled)
    return {name: value.cpu() for name, value in tuned.items()}


def _loss(learner: Learner, cut: Cut, config: AdaptConfig, task: Task, device: torch.device) -> Callable[[int], Tensor]:
    """The loss of step k."""

    def loss(step: int) -> Tensor:
        batch = cut(step)
        wanted = make_targets(batch.drawn, task.separation, learner.lost, mpp=task.mpp).to(device)
        losses = []
        for raw in learner.outputs(to_network(batch.pixels, device)):
            # Losses in fp32: sums over a batch lose digits in bf16.
            with torch.autocast(device.type, enabled=False):
                losses.append(_lesson_loss(raw.float(), wanted, batch.said, config))
        return torch.stack(losses).mean()

    return loss


def _lesson_loss(raw: DenseOutput, wanted: Targets, said: Sequence[SoftTarget], config: AdaptConfig) -> Tensor:
    """The loss of annotated crops, and of those after them of which the model has said something."""
    count = len(wanted.nuclei)
    value = unet_loss(DenseOutput(raw.classes[:count], raw.maps[:count]), wanted, config)
    if said:
        kept = DenseOutput(raw.classes[count:], raw.maps[count:])
        value = value + config.taught_weight * soft_loss(kept, said, config.map_weight)
    return value


def mixed(start: Weights, tuned: Weights, share: float) -> Weights:
    """``share`` of the tuned weights and the rest of those at the start (Wortsman et al. 2022, WiSE-FT).

    Examples
    --------
    >>> mixed({"w": torch.tensor([0.0])}, {"w": torch.tensor([2.0])}, 0.25)
    {'w': tensor([0.5000])}
    """
    weights = {}
    for name, value in tuned.items():
        # Counters of a normalisation are no weights.
        weights[name] = start[name].to(value).lerp(value, share) if value.is_floating_point() else value
    return weights
