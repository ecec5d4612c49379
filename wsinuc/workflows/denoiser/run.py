"""``wsinuc pretrain``: a denoising diffusion model from unlabelled tissue.

Method A, section 2 (Alexis et al. 2024, after Ho et al. 2020): the network learns to predict the
noise that was added to a patch. What it learns for that on the way, its decoder's activations, is
what the pixel classifiers use. Method D (Purma et al. 2025) does the same with another network,
schedule and weighting, and fine-tunes the network itself.

Patch k, its noise and its timestep depend on the seed and k alone. So an interrupted training ends
with the weights of an uninterrupted one, and neither passes nor processes change what is learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import wsinuc
from wsinuc.datasets.sampling.patches import Ahead, PatchSource
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, file_sha256, load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import build_unet, denoiser_config
from wsinuc.models.checkpoints.guided import check_finite, from_guided, read_weights
from wsinuc.models.diffusion.gaussian import GaussianDiffusion, sample_timesteps
from wsinuc.models.diffusion.schedules import named_betas
from wsinuc.models.diffusion.variance import Objective
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import Inspection, Progress, fit, part_size
from wsinuc.models.training.processes import ALONE, Processes
from wsinuc.regular import require_parent
from wsinuc.workflows.denoiser.config import PRESETS, PretrainConfig
from wsinuc.workflows.denoiser.held_out import SEED as HELD_OUT_SEED
from wsinuc.workflows.denoiser.held_out import drawn_apart
from wsinuc.workflows.denoiser.report import draw_training, sample_grid, write_png

__all__ = ["PRESETS", "PretrainConfig", "pretrain"]

_THREADS = 4  # that cut patches while a GPU computes


def pretrain(
    images: Sequence[Pixels],
    out: Path,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    weights: Sequence[float] | None = None,
    init: Path | None = None,
    provenance: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
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
    require_parent(out)
    torch.manual_seed(config.seed)
    process = GaussianDiffusion(named_betas(config.betas))
    training, held_out = _patch_sources(images, weights, config)
    network = build_unet(config.unet).to(device)
    network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    started_from = _start(network, init, config) if init else {}
    figures = {"images": len(images), **started_from, **(provenance or {})}

    def save(average: dict[str, Tensor], path: Path, **more: Any) -> None:
        save_checkpoint(_checkpoint(network, average, config, figures | more), path)

    with ExitStack() as stack:
        step_loss = _StepLoss(network, process, config, training, device, processes, stack)
        average = fit(
            network,
            step_loss,
            config.fit,
            state=out.with_suffix(".state"),
            on_progress=on_progress,
            should_stop=should_stop,
            images=config.batch,
            settings=config.identity() | {"init": started_from.get("init", "")},
            inspections=_inspections(network, process, config, held_out, device, out),
            on_best=lambda average, score: save(average, out.with_suffix(".best.safetensors"), held_out_loss=score),
            processes=processes,
            trial=step_loss.trial,
        )
    if processes.main:
        save(average, out)
        draw_training(out.with_suffix(".jsonl"), out.with_suffix(".png"))


def _checkpoint(
    network: nn.Module, average: dict[str, Tensor], config: PretrainConfig, provenance: dict[str, Any]
) -> Checkpoint:
    settings = {"betas": config.betas, "mpp": config.mpp, "learned_variance": config.learned_variance}
    return Checkpoint(
        kind="denoiser",
        config=denoiser_config(network) | settings,
        provenance={
            "wsinuc": wsinuc.__version__,
            "torch": torch.__version__,
            "training": dataclasses.asdict(config),
            **provenance,
        },
        tensors=average,
    )


def _start(network: nn.Module, path: Path, config: PretrainConfig) -> dict[str, str]:
    """Load first weights into the network; what to remember of them."""
    tensors = read_weights(path)
    if any(name.startswith(("input_blocks.", "middle_block.")) for name in tensors):
        if isinstance(config.unet, AttentionUNetConfig):
            raise CheckpointError(f"{path} holds a guided-diffusion U-Net, which the attention U-Net cannot take")
        check_finite(tensors, path)
        network.load_state_dict(from_guided(tensors, config.unet))
    else:
        own = load_checkpoint(path, "denoiser")
        try:
            network.load_state_dict(own.tensors)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(
                f"{path} is a denoiser of another shape ({reason}): use the preset it was made with"
            ) from error
    return {"init": file_sha256(path), "init_name": path.name}


def _patch_sources(
    images: Sequence[Pixels], weights: Sequence[float] | None, config: PretrainConfig
) -> tuple[PatchSource, PatchSource]:
    """Patches to train on, and held-out ones: of other images if a share is held out, without augmentation."""
    apart = drawn_apart(len(images), config.held_out, config.seed)
    trained = [i for i in range(len(images)) if i not in set(apart)]

    def source(indices: Sequence[int], seed: int, zoom: float, stain: float) -> PatchSource:
        chosen = None if weights is None else [weights[i] for i in indices]
        return PatchSource(
            images=[images[i] for i in indices], size=config.patch, seed=seed, weights=chosen, zoom=zoom, stain=stain
        )

    return (
        source(trained, config.seed, config.zoom, config.stain),
        source(apart or trained, config.seed + HELD_OUT_SEED, 1.0, 0.0),
    )


class _StepLoss:
    """Mean loss of part k of the training.

    A step's noise is drawn as a whole and each part takes its slice, so that it does not depend on the number of parts.
    """

    def __init__(
        self,
        network: nn.Module,
        process: GaussianDiffusion,
        config: PretrainConfig,
        source: PatchSource,
        device: str,
        processes: Processes,
        stack: ExitStack,
    ) -> None:
        self.network, self.process, self.config, self.device = network, process, config, device
        self.size = part_size(config.batch, config.fit, processes)
        self.patches: Callable[[int], np.ndarray] = lambda part: source.batch(part, self.size)
        if torch.device(device).type != "cpu":
            ahead = Ahead(self.patches, threads=_THREADS, stride=processes.count)
            stack.callback(ahead.close)
            self.patches = ahead

    def __call__(self, part: int) -> Tensor:
        step, place = divmod(part, self.config.batch // self.size)
        config = self.config
        if getattr(config.unet, "dropout", 0.0):
            torch.manual_seed(config.seed * 1_000_003 + part)  # the masks, too, follow the number
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        mine = slice(place * self.size, (place + 1) * self.size)
        t = sample_timesteps(self.process, config.batch, config.timestep_power, generator)[mine]
        eps = torch.randn((config.batch, 3, config.patch, config.patch), generator=generator)[mine]
        return self._loss(to_network(self.patches(part)), t, eps)

    def trial(self, count: int) -> Tensor:
        """Loss of ``count`` images of nothing: what matters is the memory it takes."""
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
    found = []
    objective = Objective(p2=config.p2)  # of the noise alone: the bound is no measure of what features need

    @torch.no_grad()
    def validate(step: int) -> float:
        generator, total = torch.Generator().manual_seed(config.seed + HELD_OUT_SEED), 0.0
        chunk = max(1, config.batch // config.fit.accumulate)
        for start in range(0, config.validation_patches, chunk):
            numbers = range(start, min(start + chunk, config.validation_patches))
            x0 = to_network(np.stack([held_out.patch(i) for i in numbers]))
            t = sample_timesteps(process, len(numbers), 1.0, generator).to(device)
            eps = torch.randn(x0.shape, generator=generator).to(device)
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=config.fit.bf16):
                predict = lambda x, t: network(x, t)[:, : x.shape[1]]  # noqa: E731
                total += float(objective(process, predict, x0.to(device), t, eps).sum())
        return total / config.validation_patches

    def sample(step: int) -> None:
        path = out.with_suffix(".samples") / f"{step * config.batch:010d}.png"
        write_png(sample_grid(network, process, config), path)

    if config.validate_every:
        found.append(Inspection(max(1, config.validate_every // config.batch), validate))
    if config.sample_every:
        found.append(Inspection(max(1, config.sample_every // config.batch), sample))
    return found
