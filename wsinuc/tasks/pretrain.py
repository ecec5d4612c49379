"""``wsinuc pretrain``: a denoising diffusion model from unlabelled tissue.

Method A, section 2 (Alexis et al. 2024, after Ho et al. 2020): the network learns to predict the noise that was added to
a patch. What it learns for that on the way, its decoder's activations, is what the pixel classifiers use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import wsinuc
from wsinuc.datasets.patches import PatchSource
from wsinuc.errors import OutputError
from wsinuc.models.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.diffusion import GaussianDiffusion, sample_timesteps
from wsinuc.models.training import FitConfig, Progress, fit
from wsinuc.models.unet import UNet, UNetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """Settings of one pre-training."""

    mpp: float = 0.5
    """um per pixel of the patches."""
    patch: int = 64
    """Side of a patch in pixels."""
    batch: int = 16
    unet: UNetConfig = field(default_factory=UNetConfig)
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=50_000))
    timestep_power: float = 1.0
    """See :func:`wsinuc.models.diffusion.sample_timesteps`."""
    zoom: float = 1.3
    stain: float = 0.25
    seed: int = 0


def pretrain(
    images: Sequence[NDArray[np.uint8]],
    out: Path,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    weights: Sequence[float] | None = None,
    provenance: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train a denoiser on RGB ``images`` (uint8, all at ``config.mpp``) and write its averaged weights to ``out``.

    The state beside ``out`` (``.state``) lets the same call continue an interrupted training; it is kept, so that a
    finished one can be made longer.

    Raises
    ------
    DataError
        There are no images.
    OutputError
        ``out`` lies in no folder.
    """
    if not out.parent.is_dir():
        raise OutputError(f"cannot write {out}: its folder does not exist")
    torch.manual_seed(config.seed)
    process = GaussianDiffusion()
    source = PatchSource(
        images=images, size=config.patch, seed=config.seed, weights=weights, zoom=config.zoom, stain=config.stain
    )
    network = UNet(config.unet).to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def loss(step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        pixels = torch.from_numpy(source.batch(step, config.batch)).permute(0, 3, 1, 2)
        x0 = (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        t = sample_timesteps(process, config.batch, config.timestep_power, generator)
        eps = torch.randn(x0.shape, generator=generator)
        return process.loss(network, x0.to(device), t.to(device), eps.to(device)).mean()

    average = fit(
        network, loss, config.fit, state=out.with_suffix(".state"), on_progress=on_progress, should_stop=should_stop
    )
    save_checkpoint(
        Checkpoint(
            kind="denoiser",
            config={"unet": dataclasses.asdict(config.unet), "betas": "linear", "mpp": config.mpp},
            provenance={
                "wsinuc": wsinuc.__version__,
                "torch": torch.__version__,
                "training": dataclasses.asdict(config),
                "images": len(images),
                **(provenance or {}),
            },
            tensors=average,
        ),
        out,
    )
