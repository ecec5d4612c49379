"""Networks that are trained for pixels' classes as a whole: the U-Nets that a method is held against, and method D.

Nothing but classes is learned: no map that separates nuclei. A training ends when four more
windows, which the other methods do not have, have not been segmented better for a while, and its
best weights count. That is generous to these networks, and says that they have converged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pixel_scores import ClassMap, pooled_counts
from records import cpu_seconds
from torch import Tensor

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.denoisers import load_denoiser, untrained_denoiser
from wsinuc.models.devices import on_device
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.networks.dense import DenseNetwork, FinetunedDenoiser
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import FitConfig
from wsinuc.workflows.train.keep_best import Best, fit_keeping_best
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.network_loss import LOSSES, make_targets

VALIDATION = 4
"""Windows beyond those that teach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """A network, where it begins, and how it is trained."""

    method: str
    """A name of `wsinuc.models.networks.by_name.NETWORKS`: ``unet``, ``attention-unet`` or ``finetune``."""
    base: int = 32
    levels: int = 4
    denoiser: Path | None = None
    """``finetune``: pre-trained weights; None begins at random with the shape of ``shape``."""
    shape: AttentionUNetConfig = field(default_factory=AttentionUNetConfig)
    steps: int = 4000
    """At most."""
    every: int = 200
    """Steps between two measurements."""
    patience: int = 5
    """Measurements without a gain after which a training ends."""
    crop: int = 128
    batch: int = 8
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(zoom=1.3, stain=0.4))

    @property
    def fit(self) -> FitConfig:
        """A constant rate: nobody knows beforehand when the training ends."""
        return FitConfig(
            steps=self.steps,
            lr=self.lr,
            warmup=50,
            weight_decay=0.01,
            ema=0.99,
            betas=self.betas,
            save_every=self.every,
        )

    def build(self, classes: int) -> DenseNetwork:
        """The network with its first weights."""
        if self.method != "finetune":
            shape = {"classes": classes + 1, "maps": 1, "base": self.base, "levels": self.levels}
            return build_network(self.method, shape)
        if self.denoiser is None:
            return FinetunedDenoiser(untrained_denoiser(self.shape), classes + 1, 1)
        network, _ = load_denoiser(load_checkpoint(self.denoiser, "denoiser"))
        return FinetunedDenoiser(network.float(), classes + 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network with the weights that did best, and what is known of its training."""

    network: DenseNetwork
    facts: dict[str, Any]

    def predict(self, square: LabelledImage) -> ClassMap:
        """Classes of the pixels of a square."""
        return predicted(self.network, square)


def trained(row: NetworkRow, windows: Sequence[LabelledImage], classes: int, seed: int) -> Trained:
    """Train on all windows but the last `VALIDATION`, which choose the weights."""
    torch.manual_seed(seed)
    network = on_device(row.build(classes), "cpu").train()
    learned = windows[:-VALIDATION]
    validation = windows[-VALIDATION:]
    best: list[Best] = []
    done = 0

    def measure(weights: dict[str, Tensor]) -> float:
        nonlocal done
        done += row.every
        network.load_state_dict(weights)
        network.eval()
        predictions = [predicted(network, square) for square in validation]
        network.train()
        return float(np.nan_to_num(pooled_counts(validation, predictions, classes).mean_iou))

    def waited() -> bool:
        return bool(best) and done - best[-1].step >= row.patience * row.every

    with tempfile.TemporaryDirectory() as folder:
        fit_keeping_best(
            network,
            batch_loss(network, learned, row, seed),
            row.fit,
            state=Path(folder) / "training.state",
            every=row.every,
            measure=measure,
            on_best=best.append,
            should_stop=waited,
        )
    network.load_state_dict(best[-1].weights)
    facts = {"steps": min(done, row.steps), "best_step": best[-1].step, "validation_iou": round(best[-1].score, 4)}
    return Trained(network.eval(), facts)


def batch_loss(
    network: DenseNetwork, windows: Sequence[LabelledImage], row: NetworkRow, seed: int
) -> Callable[[int], Tensor]:
    """The loss of step k: that of the classes alone."""
    source = CropSource(images=windows, mpp=windows[0].mpp, size=row.crop, seed=seed, augmentation=row.augmentation)
    settings = NetworkTrainConfig(method=row.method, map_weight=0.0)

    def loss(step: int) -> Tensor:
        crops = source.batch(step, row.batch)
        raw = network(to_network(np.stack([crop.image for crop in crops])))
        wanted = make_targets(crops, "distance", network.lost)
        with torch.autocast("cpu", enabled=False):
            return LOSSES[row.method](raw.float(), wanted, settings)

    return loss


@torch.no_grad()
def predicted(network: DenseNetwork, square: LabelledImage) -> ClassMap:
    """Classes of the pixels of a square."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = network(to_network(square.image[None]))
    return np.asarray(raw.classes.float().argmax(1)[0].numpy(), np.int64)


def network_step_seconds(row: NetworkRow, classes: int) -> float:
    """CPU seconds of a training step, without the cutting of crops."""
    return cpu_seconds(blank_step(row.build(classes), row.batch, row.crop))


def blank_step(network: DenseNetwork, batch: int, crop: int) -> Callable[[], None]:
    """A training step on empty crops: as much work as on others, and nothing to cut."""
    network.train()
    blank = to_network(np.zeros((batch, crop, crop, 3), np.uint8))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = network(blank).classes.float().mean()
        torch.autograd.backward(value)

    return step
