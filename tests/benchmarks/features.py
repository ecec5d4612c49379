"""What one tile of the published size costs: the naive formulation against wsinuc's, with the same weights.

``python tests/benchmarks/features.py [--image PNG --labels PNG]`` on a 256 x 256 px tile, U-Net of base 128 (random
weights, zero layers filled), 3 timesteps, blocks 6, 8, 10, 12, 10 members of 128 and 32 units.

naive   full U-Net forward per timestep, every map enlarged to 256 px, all concatenated (2688 x 65 536), 10 members one
        after another, fp32
ours    early exit, first layer at native resolution, members interpolated one by one; fp32 and bf16

Random members would decide by a hair everywhere, so the ensemble is first fitted, briefly, to the
tile's own annotation (without one: to the darkest fifth of its pixels); the same members then run
in all formulations. Each runs in its own process: CPU-seconds are the median of the repetitions;
memory is the peak resident set beyond that with weights loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import (
    NOISE_PERIOD,
    FeatureConfig,
    FeatureExtractor,
    noise_texture,
    sample_features,
)
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble
from wsinuc.workflows.train.pixel_table import PixelTable

FEATURES = FeatureConfig()
WAYS = ("naive", "ours_fp32", "ours_bf16")
SIDE = 256


def built_extractor(base: int) -> FeatureExtractor:
    """Random weights whose residual branches are not zero."""
    torch.manual_seed(0)
    unet = UNet(UNetConfig(base=base))
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    unet = unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FeatureExtractor(unet, GaussianDiffusion(), FEATURES)


def shape_for(extractor: FeatureExtractor) -> EnsembleConfig:
    return EnsembleConfig(
        channels=tuple(extractor.channels.items()), classes=2, maps=1, members=10, hidden=128, norm="batch"
    )


def tile(image: Path | None, labels: Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels ``(1, 3, 256, 256)`` in [-1, 1] and classes ``(65536,)``."""
    if image is None:
        rng = np.random.default_rng(0)
        small = Image.fromarray(rng.integers(60, 255, (16, 16, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    else:
        pixels = np.asarray(Image.open(image).convert("RGB"))[:SIDE, :SIDE]
    if labels is None:
        grey = pixels.mean(2)
        wanted = grey < np.quantile(grey, 0.2)
    else:
        wanted = np.asarray(Image.open(labels))[:SIDE, :SIDE] > 0
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return x, torch.from_numpy(wanted.ravel().astype(np.int64))


@torch.no_grad()
def naive(extractor: FeatureExtractor, ensemble: PixelClassifierEnsemble, x: torch.Tensor) -> torch.Tensor:
    """Labels ``(256, 256)`` as the method is published, features in the order of the ensemble's."""
    unet, found = extractor.unet, {}
    seen: list[torch.Tensor] = []
    hooks = [unet.decoder[b].register_forward_hook(lambda m, i, out: seen.append(out)) for b in FEATURES.blocks]
    noise = noise_texture(FEATURES).repeat(1, 1, SIDE // NOISE_PERIOD, SIDE // NOISE_PERIOD)
    for step, t in enumerate(FEATURES.timesteps):
        when = torch.tensor([t])
        unet(extractor.process.noise(x, when, noise[step : step + 1]), when)
        for block, activation in zip(FEATURES.blocks, seen, strict=True):
            found[step, block] = F.interpolate(activation, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        seen.clear()
    for hook in hooks:
        hook.remove()
    factor = unet.config.decoder_factors
    order = sorted(found, key=lambda key: (factor[key[1]], key[0], key[1]))
    rows = torch.cat([found[key] for key in order], dim=1)[0].flatten(1).T
    total = torch.zeros(len(rows), 2)
    for member in range(ensemble.config.members):
        total += one_member(ensemble, member, rows)[:, :2].softmax(1)
    return total.argmax(1).reshape(SIDE, SIDE)


def one_member(ensemble: PixelClassifierEnsemble, member: int, rows: torch.Tensor) -> torch.Tensor:
    """Linear - ReLU - BatchNorm twice, then linear."""
    h = (rows - ensemble.mean) / ensemble.std
    layers = zip(("first", "second"), ensemble.norms, strict=True)
    for name, norm in layers:
        h = torch.relu(h @ getattr(ensemble, name)[member] + getattr(ensemble, f"{name}_bias")[member])
        scale, shift = norm.affine()  # type: ignore[operator]
        h = h * scale[member] + shift[member]
    return h @ ensemble.third[member] + ensemble.third_bias[member]


@torch.inference_mode()
def ours(extractor: FeatureExtractor, ensemble: PixelClassifierEnsemble, x: torch.Tensor) -> torch.Tensor:
    """Labels ``(256, 256)``."""
    return ensemble.vote(extractor(x)).probabilities[0].argmax(0)


def prepare(folder: Path, base: int, x: torch.Tensor, wanted: torch.Tensor) -> None:
    """Fit the members to 4000 pixels of the tile and keep them."""
    extractor = built_extractor(base)
    rng = np.random.default_rng(0)
    chosen = torch.from_numpy(rng.choice(SIDE * SIDE, 4000, replace=False))
    points = torch.stack([chosen // SIDE, chosen % SIDE], dim=1)
    rows = sample_features(extractor(x), 0, points).half()
    table = PixelTable(rows, wanted[chosen], torch.zeros(len(rows), 1))
    ensemble = fit_ensemble(table, shape_for(extractor), EnsembleFitConfig(epochs=6, batch=256))
    save_file(ensemble.state_dict(), folder / "ensemble.safetensors")


def peak_mib(work: Callable[[], object]) -> float:
    """Largest resident set while ``work`` runs, beyond that before it."""
    page, peak, done = os.sysconf("SC_PAGE_SIZE"), 0, threading.Event()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    before = resident()
    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    # The kernel's own high-water mark catches what falls between two looks.
    return max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) / 2**20 - before / 2**20


def child(way: str, folder: Path, base: int, repeats: int, x: torch.Tensor) -> None:
    """One formulation: memory of the first run, CPU-seconds of the others."""
    extractor = built_extractor(base)
    ensemble = PixelClassifierEnsemble(shape_for(extractor)).eval()
    ensemble.load_state_dict(load_file(folder / "ensemble.safetensors"))
    if way == "ours_bf16":
        extractor.unet.to(torch.bfloat16)
    run = naive if way == "naive" else ours
    labels: list[torch.Tensor] = []
    memory = peak_mib(lambda: labels.append(run(extractor, ensemble, x)))
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run(extractor, ensemble, x)
        seconds.append(time.process_time() - start)
    np.save(folder / f"{way}.npy", labels[0].numpy())
    print(json.dumps({"way": way, "cpu_s": median(seconds), "peak_mib": memory}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--child", choices=WAYS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    x, wanted = tile(arguments.image, arguments.labels)
    if arguments.child:
        child(arguments.child, arguments.folder, arguments.base, arguments.repeats, x)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.base, x, wanted)
        found = {}
        for way in WAYS:
            command = [sys.executable, *sys.argv, "--child", way, "--folder", name]
            found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found[way]["labels"] = np.load(folder / f"{way}.npy")
    reference = found["naive"]
    print(f"threads {torch.get_num_threads()}  torch {torch.__version__}  nuclei {reference['labels'].mean():.1%}")
    print(f"{'':10} CPU s   faster  memory MiB  of naive  equal labels")
    for way, row in found.items():
        print(
            f"{way:10} {row['cpu_s']:6.2f}  {reference['cpu_s'] / row['cpu_s']:5.2f}x  {row['peak_mib']:9.0f}  "
            f"{row['peak_mib'] / reference['peak_mib']:8.2f}  {(row['labels'] == reference['labels']).mean():.4%}"
        )


if __name__ == "__main__":
    main()
