"""Pre-trainings of one network by several objectives, side by side, with weights kept at marks on the way.

`pretrain_a.py` and `claim_d.py` say which. All trainings are taken to the first mark, then all to
the second, and so on, so that a comparison at equal cost can be made after each round. Interrupted,
the same call goes on where it stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from records import Price, after_minutes, cpu_seconds
from rivals import MOVE, ContrastLoss, MaskedLoss, ProjectedUNet
from torch import Tensor, nn
from unlabelled_pools import Picture, pixels_of, pool

from wsinuc.datasets.sampling.patches import PatchSource
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import denoiser_config, untrained_denoiser
from wsinuc.models.devices import forward_pass, on_device
from wsinuc.models.networks.unet import UNet
from wsinuc.models.training.loop import Progress
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.training.run import Session, Training, origin_of, run_training


@dataclass(frozen=True, slots=True)
class Pretraining:
    """One of the trainings."""

    name: str
    pool: str
    """See `unlabelled_pools.pool`."""
    objective: str
    """``denoise``; of a `UNet` also ``mask`` or ``contrast``."""


def train(plan: Pretraining, pictures: list[Picture], out: Path, config: PretrainConfig, session: Session) -> None:
    """Go on with one training up to ``config.fit.steps``; its averaged weights are in ``out`` then."""
    origin = {"pool": plan.pool, "objective": plan.objective, "pixels": pixels_of(pictures)}
    weights = [float(np.sqrt(picture.shape[0] * picture.shape[1])) for picture in pictures]
    if plan.objective == "denoise":
        pretrain(pictures, out, config, weights=weights, provenance=origin, session=session)
        return
    torch.manual_seed(config.seed)
    unet = on_device(plain_unet(config), session.device).train()
    network: nn.Module = unet
    if plan.objective == "contrast":
        network = on_device(ProjectedUNet(unet), session.device).train()
        source = patch_source(pictures, weights, config, larger=MOVE)
        loss: MaskedLoss | ContrastLoss = ContrastLoss(network, config, source, session)
    else:
        loss = MaskedLoss(unet, config, patch_source(pictures, weights, config), session)

    def checkpoint(average: dict[str, Tensor]) -> Checkpoint:
        return as_denoiser(unet, average, config, origin)

    training = Training(network=network, loss=loss, checkpoint=checkpoint, curve=plan.objective)
    run_training(training, out, config, session)


def plain_unet(config: PretrainConfig) -> UNet:
    """The network with random weights; the objectives beside denoising are written for a `UNet`."""
    network = untrained_denoiser(config.unet)
    if not isinstance(network, UNet):
        raise ConfigError(f"mask and contrast train a UNet, and the settings describe a {type(network).__name__}")
    return network


def patch_source(pictures: list[Picture], weights: list[float], config: PretrainConfig, larger: int = 0) -> PatchSource:
    """Patches as a denoiser's training cuts them."""
    return PatchSource(
        images=pictures,
        size=config.patch + larger,
        seed=config.seed,
        weights=weights,
        zoom=config.zoom,
        stain=config.stain,
    )


def as_denoiser(
    unet: UNet, average: dict[str, Tensor], config: PretrainConfig, origin: dict[str, object]
) -> Checkpoint:
    """A rival's network as a checkpoint that the extractor of features reads; its head is of no use."""
    tensors = {
        name.removeprefix("unet."): value for name, value in average.items() if not name.startswith("projection.")
    }
    settings = {"betas": config.betas, "mpp": config.mpp, "learned_variance": False}
    return Checkpoint(
        kind="denoiser",
        config=denoiser_config(unet) | settings,
        provenance=origin_of(config, **origin),
        tensors=tensors,
    )


def write_random(out: Path, config: PretrainConfig) -> None:
    """The network without any training; convolutions that begin at zero are drawn as the others are."""
    torch.manual_seed(config.seed)
    unet = plain_unet(config)
    for module in unet.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            module.reset_parameters()
    checkpoint = as_denoiser(unet, unet.state_dict(), config, {"objective": "none"})
    save_checkpoint(checkpoint, out)


def run(
    plans: tuple[Pretraining, ...],
    marks: tuple[int, ...],
    pictures_of: Callable[[str], list[Picture]],
    out: Path,
    config: PretrainConfig,
    session: Session,
) -> bool:
    """All trainings, mark by mark; whether they are done."""
    out.mkdir(parents=True, exist_ok=True)
    for mark in marks:
        for plan in plans:
            kept = out / f"{plan.name}-{mark}.safetensors"
            if kept.exists():
                continue
            weights = out / f"{plan.name}.safetensors"
            train(plan, pictures_of(plan.pool), weights, config.lasting(mark), session)
            if session.should_stop():
                return False
            keep(weights, kept)
    return True


def keep(weights: Path, kept: Path) -> None:
    """A copy that later steps leave alone."""
    partial = kept.with_suffix(".partial")
    shutil.copyfile(weights, partial)
    partial.replace(kept)


def steps_left(plans: tuple[Pretraining, ...], marks: tuple[int, ...], out: Path) -> dict[str, int]:
    """Steps of each training that have no weights yet; a training under way is counted from its last mark."""
    done = {p.name: max((m for m in marks if (out / f"{p.name}-{m}.safetensors").exists()), default=0) for p in plans}
    return {name: max(marks) - steps for name, steps in done.items()}


def prices(plans: tuple[Pretraining, ...], marks: tuple[int, ...], out: Path, config: PretrainConfig) -> list[Price]:
    """What is left of each training, from a step that is measured on blank pictures."""
    blank = [np.full((4 * config.patch, 4 * config.patch, 3), 200, np.uint8)]
    left = steps_left(plans, marks, out)
    return [
        Price(what=f"steps of {plan.name}", runs=left[plan.name], seconds=step_seconds(plan, blank, config))
        for plan in plans
        if left[plan.name]
    ]


def step_seconds(plan: Pretraining, pictures: list[Picture], config: PretrainConfig) -> float:
    """CPU seconds of a step of one objective."""
    session = Session()
    if plan.objective == "contrast":
        network: nn.Module = ProjectedUNet(on_device(plain_unet(config), "cpu")).train()
        source = patch_source(pictures, [1.0], config, larger=MOVE)
        loss: Callable[[int], Tensor] = ContrastLoss(network, config, source, session)
    else:
        # A denoiser's step is the same pass through the same network.
        network = on_device(untrained_denoiser(config.unet), "cpu").train()
        loss = MaskedLoss(network, config, patch_source(pictures, [1.0], config), session)
    optimiser = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimiser.zero_grad()
        with forward_pass(torch.device("cpu"), config.fit.bf16):
            value = loss(0)
        torch.autograd.backward(value)
        optimiser.step()

    return cpu_seconds(step)


def report(progress: Progress) -> None:
    """A line for each line of the log."""
    print(f"step {progress.step}  loss {progress.loss:.4f}  {progress.images_per_s:.1f} patches/s", flush=True)


def run_from_data(
    plans: tuple[Pretraining, ...],
    marks: tuple[int, ...],
    data: Path,
    out: Path,
    config: PretrainConfig,
    minutes: float = 1e9,
) -> bool:
    """All trainings on the pools of DATA, for so many minutes; whether they are done."""
    pools: dict[str, list[Picture]] = {}

    def pictures_of(name: str) -> list[Picture]:
        if name not in pools:
            pools[name] = pool(name, data)
            print(f"{name}: {len(pools[name])} pictures, {pixels_of(pools[name]) / 1e6:.1f} Mpx", flush=True)
        return pools[name]

    session = Session(on_progress=report, should_stop=after_minutes(minutes))
    finished = run(plans, marks, pictures_of, out, config, session)
    print("all weights are there" if finished else "stopped; the same command goes on", flush=True)
    return finished
