"""``wsinuc pretrain``: a denoising diffusion model from unlabelled tissue.

Method A, section 2 (Alexis et al. 2024, after Ho et al. 2020): the network learns to predict the
noise that was added to a patch. What it learns for that on the way, its decoder's activations, is
what the pixel classifiers use. Method D (Purma et al. 2025) does the same with another network,
schedule and weighting, and fine-tunes the network itself.

Patch k, its noise and its timestep depend on the seed and k alone. So an interrupted training ends
with the weights of an uninterrupted one, and neither passes nor processes change what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsinuc.datasets.sampling.patches import PatchSource, source_identity
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import denoiser_config, untrained_denoiser
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.checkpoints.guided import check_finite, from_guided, read_weights
from wsinuc.models.devices import forward_pass, on_device
from wsinuc.models.diffusion.gaussian import GaussianDiffusion, sample_timesteps
from wsinuc.models.diffusion.schedules import named_betas
from wsinuc.models.diffusion.variance import Objective
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import Inspection
from wsinuc.own_files import check_place
from wsinuc.workflows.denoiser.config import PRESETS, PretrainConfig
from wsinuc.workflows.denoiser.report import sample_grid
from wsinuc.workflows.training.files import sample_pages
from wsinuc.workflows.training.held_out import SEED as HELD_OUT_SEED
from wsinuc.workflows.training.held_out import drawn_apart
from wsinuc.workflows.training.run import UNATTENDED, Session, Training, origin_of, run_training, take_weights
from wsinuc.workflows.training.step_loss import StepLoss

__all__ = ["PRESETS", "PretrainConfig", "pretrain"]


def pretrain(
    images: Sequence[Pixels],
    out: Path,
    config: PretrainConfig,
    *,
    weights: Sequence[float] | None = None,
    init: Path | None = None,
    provenance: dict[str, Any] | None = None,
    session: Session = UNATTENDED,
) -> None:
    """Train a denoiser on RGB ``images`` (uint8, all at ``config.mpp``) and write its averaged weights to ``out``.

    Beside ``out`` lie: the state (``.state``) that lets the same call continue an interrupted
    training, and make a finished one longer; the log (``.jsonl``) and its curves (``.png``); with
    validation the weights of the lowest held-out loss (``.best.safetensors``); with sampling a
    folder of grids (``.samples``).

    Parameters
    ----------
    weights
        How often each image is drawn; None draws by area.
    init
        Weights to start from: public guided-diffusion ones, or a denoiser of wsinuc.
    session
        Where the training runs, who hears of it and who may stop it.

    Raises
    ------
    CheckpointError
        The state is of another training, or the first weights do not fit.
    ConfigError
        The batch cannot be shared out to the processes.
    DataError
        There are no images.
    DeviceMemoryError
        The device's memory is too small; it says which batch size fits.
    OutputError
        ``out`` lies in no folder.
    TrainingError
        The loss is no number any more.
    """
    check_place(out)
    torch.manual_seed(config.seed)
    process = GaussianDiffusion(named_betas(config.betas))
    training, held_out = _patch_sources(images, weights, config)
    network = on_device(untrained_denoiser(config.unet), session.device).train()
    start = _start(network, init, config) if init else {}
    origin = {"images": len(images), **start, **(provenance or {})}

    def checkpoint(average: dict[str, Tensor], **more: Any) -> Checkpoint:
        return _checkpoint(network, average, config, origin | more)

    def save_best(average: dict[str, Tensor], score: float) -> None:
        save_checkpoint(checkpoint(average, held_out_loss=score), out.with_suffix(".best.safetensors"))

    run_training(
        Training(
            network=network,
            loss=_NoiseLoss(network, process, config, training, session),
            data=source_identity(images, weights),
            checkpoint=checkpoint,
            inspections=_inspections(network, process, config, held_out, session.device, out),
            start_sha256=start.get("init", ""),
            on_best=save_best,
        ),
        out,
        config,
        session,
    )


def _checkpoint(
    network: nn.Module, average: dict[str, Tensor], config: PretrainConfig, provenance: dict[str, Any]
) -> Checkpoint:
    settings = {"betas": config.betas, "mpp": config.mpp, "learned_variance": config.learned_variance}
    return Checkpoint(
        kind="denoiser",
        config=denoiser_config(network) | settings,
        provenance=origin_of(config, **provenance),
        tensors=average,
    )


def check_start(config: PretrainConfig, init: Path) -> None:
    """Whether a training can start from these weights; raises CheckpointError where it cannot."""
    _start(untrained_denoiser(config.unet), init, config)


def _start(network: nn.Module, path: Path, config: PretrainConfig) -> dict[str, str]:
    """Load first weights into the network; what to remember of them."""
    tensors = read_weights(path)
    # Public guided-diffusion weights are known by their names; they come without a header of ours.
    if any(name.startswith(("input_blocks.", "middle_block.")) for name in tensors):
        if isinstance(config.unet, AttentionUNetConfig):
            raise CheckpointError(f"{path} holds a guided-diffusion U-Net, which the attention U-Net cannot take")
        check_finite(tensors, path)
        network.load_state_dict(from_guided(tensors, config.unet))
    else:
        own = load_checkpoint(path, "denoiser")
        take_weights(network, own.tensors, path, "denoiser", "use the preset it was made with")
    return {"init": file_sha256(path), "init_name": path.name}


def _patch_sources(
    images: Sequence[Pixels], weights: Sequence[float] | None, config: PretrainConfig
) -> tuple[PatchSource, PatchSource]:
    """Patches to train on, and held-out ones: of other images if a share is held out, without augmentation."""
    apart = drawn_apart(len(images), config.held_out, config.seed)
    trained = [i for i in range(len(images)) if i not in set(apart)]

    def source(indices: Sequence[int], seed: int, zoom: float, stain: float) -> PatchSource:
        chosen = None
        if weights is not None:
            chosen = [weights[i] for i in indices]
        return PatchSource(
            images=[images[i] for i in indices], size=config.patch, seed=seed, weights=chosen, zoom=zoom, stain=stain
        )

    return (
        source(trained, config.seed, config.zoom, config.stain),
        # Without images of their own, held-out patches are other patches of the same ones.
        source(apart or trained, config.seed + HELD_OUT_SEED, 1.0, 0.0),
    )


class _NoiseLoss(StepLoss[NDArray[np.uint8]]):
    """Mean loss of the noise that was added to the patches of part k.

    A step's noise is drawn as a whole and each part takes its slice, so that it does not depend on the number of parts.
    """

    def __init__(
        self,
        network: nn.Module,
        process: GaussianDiffusion,
        config: PretrainConfig,
        source: PatchSource,
        session: Session,
    ) -> None:
        self.network = network
        self.process = process
        self.config = config
        self.source = source
        super().__init__(config, session)

    def cut(self, part: int) -> NDArray[np.uint8]:
        return self.source.batch(part, self.size)

    def __call__(self, part: int) -> Tensor:
        config = self.config
        step, share = divmod(part, config.batch // self.size)
        if getattr(config.unet, "dropout", 0.0):
            # The masks, too, follow the number.
            torch.manual_seed(config.seed * 1_000_003 + part)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        mine = slice(share * self.size, (share + 1) * self.size)
        t = sample_timesteps(self.process, config.batch, config.timestep_power, generator)[mine]
        # Drawn for the whole step: the noise is the same however many parts or processes share it.
        eps = torch.randn((config.batch, 3, config.patch, config.patch), generator=generator)[mine]
        return self._loss(to_network(self.batch(part)), t, eps)

    def trial(self, count: int) -> Tensor:
        blank = np.zeros((count, self.config.patch, self.config.patch, 3), np.uint8)
        x0 = to_network(blank)
        return self._loss(x0, torch.zeros(count, dtype=torch.long), torch.zeros_like(x0))

    def _loss(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        on = self.device
        return self.config.objective(self.process, self.network, x0.to(on), t.to(on), eps.to(on)).mean()


def _inspections(
    network: nn.Module,
    process: GaussianDiffusion,
    config: PretrainConfig,
    held_out: PatchSource,
    device: str,
    out: Path,
) -> list[Inspection]:
    """The held-out loss and the sample grids, where they are asked for."""
    inspections = []
    if config.validate_every:
        measure = _HeldOutLoss(network, process, config, held_out, device)
        # Intervals are stated in images seen, and inspections count steps.
        inspections.append(Inspection(max(1, config.validate_every // config.batch), measure))
    if config.sample_every:

        def draw(step: int) -> NDArray[np.uint8]:
            return sample_grid(network, process, config)

        inspections.append(sample_pages(draw, out, every=config.sample_every, batch=config.batch))
    return inspections


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOutLoss:
    """Mean loss of the noise in held-out patches, at the same timesteps and with the same noise each time."""

    network: nn.Module
    process: GaussianDiffusion
    config: PretrainConfig
    source: PatchSource
    device: str

    @torch.no_grad()
    def __call__(self, step: int) -> float:
        config = self.config
        # The same noise at every inspection, so that the loss moves with the weights alone.
        generator = torch.Generator().manual_seed(config.seed + HELD_OUT_SEED)
        total = 0.0
        # What fits into memory in training fits here.
        chunk = max(1, config.batch // config.fit.accumulate)
        for start in range(0, config.validation_patches, chunk):
            numbers = range(start, min(start + chunk, config.validation_patches))
            total += self._sum(numbers, generator)
        return total / config.validation_patches

    def _sum(self, numbers: range, generator: torch.Generator) -> float:
        x0 = to_network(np.stack([self.source.patch(i) for i in numbers]))
        t = sample_timesteps(self.process, len(numbers), 1.0, generator).to(self.device)
        eps = torch.randn(x0.shape, generator=generator).to(self.device)
        # The loss of the noise alone: the bound is no measure of what features need.
        objective = Objective(p2=self.config.p2)
        with forward_pass(torch.device(self.device), self.config.fit.bf16):
            return float(objective(self.process, self._noise, x0.to(self.device), t, eps).sum())

    def _noise(self, x: Tensor, t: Tensor) -> Tensor:
        """The predicted noise, without the channels of a learned variance."""
        return cast(Tensor, self.network(x, t)[:, : x.shape[1]])
