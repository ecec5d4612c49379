"""Claim A's pre-trainings: one network, taught by denoising tissue, by denoising photographs, and by two rivals.

    python examples/claims/pretrain_a.py DATA OUT [--minutes 60] [--price]

The network is the paper's but for its width (base 32 instead of 128): six levels, two residual
blocks, attention at factors 8, 16 and 32, so that blocks 6, 8, 10 and 12 at t = 50, 150 and 250
give 672 features a pixel. Patches have 128 px at 0.25 um per px, where the paper has 256.

OUT gets NAME-STEPS.safetensors at 2, 5, 10 and 15 thousand steps of each training, and random
weights as `random-0.safetensors`. All are taken to 2,000 steps first, then all to 5,000, and so on:
a comparison at equal cost can be made after each round. Interrupt it at will: the same command goes
on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from records import Price, after_minutes, cpu_seconds, print_prices
from rivals import MOVE, ContrastLoss, MaskedLoss, ProjectedUNet
from torch import Tensor, nn
from unlabelled_pools import Picture, pixels_of, pool

from wsinuc.datasets.sampling.patches import PatchSource
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import denoiser_config
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.training.loop import FitConfig, Progress
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.training.run import Session, Training, on_device, origin_of, run_training

MARKS = (2000, 5000, 10_000, 15_000)
CONFIG = PretrainConfig(
    mpp=0.25,
    patch=128,
    batch=8,
    unet=UNetConfig(base=32),
    # A constant rate, so that the weights at every mark are those of a training that ends there.
    fit=FitConfig(steps=MARKS[-1], lr=3e-4, warmup=100, ema=0.999, save_every=100, log_every=50),
    seed=25,
)


@dataclass(frozen=True, slots=True)
class Pretraining:
    """One of the trainings."""

    name: str
    pool: str
    """See `unlabelled_pools.pool`."""
    objective: str
    """``denoise``, ``mask`` or ``contrast``."""


PRETRAININGS = (
    Pretraining("tissue", "tissue", "denoise"),
    Pretraining("photographs", "photographs", "denoise"),
    Pretraining("masked", "tissue", "mask"),
    Pretraining("contrast", "tissue", "contrast"),
    Pretraining("little-tissue", "little-tissue", "denoise"),
)
"""``little-tissue`` has as many pixels as the photographs: it parts what is shown from how much of it there is."""


def train(plan: Pretraining, pictures: list[Picture], out: Path, config: PretrainConfig, session: Session) -> None:
    """Go on with one training up to ``config.fit.steps``; its averaged weights are in ``out`` then."""
    origin = {"pool": plan.pool, "objective": plan.objective, "pixels": pixels_of(pictures)}
    weights = [float(np.sqrt(picture.shape[0] * picture.shape[1])) for picture in pictures]
    if plan.objective == "denoise":
        pretrain(pictures, out, config, weights=weights, provenance=origin, session=session)
        return
    torch.manual_seed(config.seed)
    unet = on_device(UNet(config.unet), session.device).train()
    network: nn.Module = unet
    if plan.objective == "contrast":
        network = on_device(ProjectedUNet(unet), session.device).train()
        source = patch_source(pictures, weights, config, larger=MOVE)
        loss: MaskedLoss | ContrastLoss = ContrastLoss(network, config, source, session)
    else:
        loss = MaskedLoss(unet, config, patch_source(pictures, weights, config), session)

    def checkpoint(average: dict[str, Tensor]) -> Checkpoint:
        return as_denoiser(unet, average, config, origin)

    with loss:
        run_training(
            Training(network=network, loss=loss, checkpoint=checkpoint, curve=plan.objective), out, config, session
        )


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
    unet = UNet(config.unet)
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
    if not (out / "random-0.safetensors").exists():
        write_random(out / "random-0.safetensors", config)
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
    return {name: marks[-1] - steps for name, steps in done.items()}


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
    unet = on_device(UNet(config.unet), "cpu").train()
    session = Session()
    network: nn.Module = unet
    if plan.objective == "contrast":
        network = ProjectedUNet(unet)
        loss: Callable[[int], Tensor] = ContrastLoss(
            network, config, patch_source(pictures, [1.0], config, larger=MOVE), session
        )
    else:
        # A denoiser's step is the same pass through the same network.
        loss = MaskedLoss(unet, config, patch_source(pictures, [1.0], config), session)
    optimiser = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.fit.bf16):
            value = loss(0)
        value.backward()
        optimiser.step()

    return cpu_seconds(step)


def report(progress: Progress) -> None:
    """A line for each line of the log."""
    print(f"step {progress.step}  loss {progress.loss:.4f}  {progress.images_per_s:.1f} patches/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop cleanly after this long")
    parser.add_argument("--price", action="store_true", help="say what it costs, and stop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    print_prices(prices(PRETRAININGS, MARKS, options.out, CONFIG))
    if options.price:
        return
    pools: dict[str, list[Picture]] = {}

    def pictures_of(name: str) -> list[Picture]:
        if name not in pools:
            pools[name] = pool(name, options.data)
            print(f"{name}: {len(pools[name])} pictures, {pixels_of(pools[name]) / 1e6:.1f} Mpx", flush=True)
        return pools[name]

    session = Session(on_progress=report, should_stop=after_minutes(options.minutes))
    finished = run(PRETRAININGS, MARKS, pictures_of, options.out, CONFIG, session)
    print("all weights are there" if finished else "stopped; the same command goes on", flush=True)


if __name__ == "__main__":
    main()
