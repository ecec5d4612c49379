"""What method B's networks learn from: crops with the structure of their nuclei, and the loss of a batch of them.

Crop k, its noise, its timestep and whether its structure is left out depend on the seed and k alone.
Structures are computed from the labels *after* augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.models.checkpoints.generators import IMAGE, STRUCTURE
from wsinuc.models.diffusion.gaussian import GaussianDiffusion, sample_timesteps
from wsinuc.models.pixels import to_network
from wsinuc.synthesis.structures import structure_map, to_diffusion
from wsinuc.workflows.generators.config import CHANNELS, GeneratorConfig
from wsinuc.workflows.training.run import Session
from wsinuc.workflows.training.step_loss import StepLoss

_DROPPING = 7_919  # tells the draw that leaves a structure out from those of its crop


def crops_of(images: Sequence[LabelledImage], config: GeneratorConfig, seed: int) -> CropSource:
    """The endless crops of a training."""
    return CropSource(images=images, mpp=config.mpp, size=config.patch, seed=seed, augmentation=config.augmentation)


def left_out(config: GeneratorConfig, index: int) -> bool:
    """Whether example ``index`` of a training is shown without its structure; a function of the seed and the index."""
    if index // config.batch < config.drop_from or not config.drop_rate:
        return False
    return bool(np.random.default_rng((config.seed, index, _DROPPING)).random() < config.drop_rate)


def example(crop: Crop, config: GeneratorConfig) -> NDArray[np.float32]:
    """What a crop teaches: ``(3, h, w)`` its structure as stage 1 has it; for images ``(6, h, w)``,
    image, then structure."""
    structure = structure_map(crop.labels, smallest_px=config.smallest_px)
    if config.kind == STRUCTURE:
        return to_diffusion(structure)
    return np.concatenate([to_network(crop.image[None])[0].numpy(), structure])


class ExampleLoss(StepLoss[NDArray[np.float32]]):
    """Mean loss of the noise that was added to the examples of part k."""

    def __init__(
        self,
        network: nn.Module,
        process: GaussianDiffusion,
        config: GeneratorConfig,
        images: Sequence[LabelledImage],
        session: Session,
    ) -> None:
        self.network = network
        self.process = process
        self.config = config
        self.crops = crops_of(images, config, config.seed)
        super().__init__(config, session)

    def cut(self, part: int) -> NDArray[np.float32]:
        """``(n, channels, h, w)`` what the crops of a part teach; see `example`."""
        return np.stack([example(crop, self.config) for crop in self.crops.batch(part, self.size)])

    def __call__(self, part: int) -> Tensor:
        """The loss of the examples ``part * size`` to ``(part + 1) * size``."""
        config = self.config
        examples = torch.from_numpy(self.batch(part))
        numbers = self.numbers(part)
        if config.network.dropout:
            # The masks, too, follow the number.
            torch.manual_seed(config.seed * 1_000_003 + numbers[0])
        draws = []
        for index, shown in zip(numbers, examples, strict=True):
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + index)
            t = sample_timesteps(self.process, 1, config.timestep_power, generator)
            draws.append((t, torch.randn((CHANNELS, config.patch, config.patch), generator=generator)))
            if left_out(config, index):
                shown[CHANNELS:] = 0
        return self._loss(examples, torch.cat([t for t, _ in draws]), torch.stack([eps for _, eps in draws]))

    def trial(self, count: int) -> Tensor:
        channels = CHANNELS * (2 if self.config.kind == IMAGE else 1)
        blank = torch.zeros(count, channels, self.config.patch, self.config.patch)
        return self._loss(blank, torch.zeros(count, dtype=torch.long), blank[:, :CHANNELS])

    def _loss(self, examples: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        x0 = self._placed(examples[:, :CHANNELS])
        condition: tuple[Tensor, ...] = ()
        if self.config.kind == IMAGE:
            condition = (self._placed(examples[:, CHANNELS:]),)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            noise: Tensor = self.network(x, t, *condition)
            return noise

        return self.config.objective(self.process, predict, x0, t.to(self.device), eps.to(self.device)).mean()

    def _placed(self, part: Tensor) -> Tensor:
        return part.to(self.device).contiguous(memory_format=torch.channels_last)
