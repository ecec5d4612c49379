"""What do `wsinuc.models.networks.backward` and its plain forms cost in a step of learning, in turns?

    OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/backward.py [--repeats 11]

Forward and backward in bf16 without the optimiser, batches of 8. Prints medians of CPU seconds, and their ratio.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from wsinuc.models.devices import on_device
from wsinuc.models.freed_memory import keep_freed_memory
from wsinuc.models.networks import backward, supervised_unet
from wsinuc.models.networks.by_name import build_network

SMALL = {"classes": 2, "maps": 1, "base": 16, "fold": 2, "levels": 4, "smooth": True, "blur": 5}
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "the networks of fast, 256 px": ("unet", SMALL, 256),
    "unet, 128 px": ("unet", {"classes": 2, "maps": 1}, 128),
    "attention-unet, 128 px": ("attention-unet", {"classes": 2, "maps": 1}, 128),
}
FORMS = {
    "plain": (lambda *parts: torch.cat(parts, 1), nn.ConvTranspose2d.forward),
    "ours": (backward.joined, backward.TransposedConv.forward),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    repeats = parser.parse_args().repeats
    keep_freed_memory()
    print("| network | plain, s | ours, s | ratio |\n|---|---|---|---|")
    for name, (method, shape, side) in NETWORKS.items():
        network = on_device(build_network(method, shape), torch.device("cpu")).train()
        pixels = torch.randn(8, 3, side, side).contiguous(memory_format=torch.channels_last)
        spent: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(1 + repeats):
            for form, (join, transposed) in FORMS.items():
                supervised_unet.joined = join
                backward.TransposedConv.forward = transposed
                spent[form].append(step(network, pixels))
        # The first of each compiles.
        plain, ours = (median(seconds[1:]) for seconds in spent.values())
        print(f"| {name} | {plain:.3f} | {ours:.3f} | {ours / plain:.2f} |", flush=True)


def step(network: nn.Module, pixels: Tensor) -> float:
    """CPU seconds of one forward and backward pass."""
    network.zero_grad(set_to_none=True)
    before = time.process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = network(pixels).float()
        loss = raw.classes.square().mean() + raw.maps.square().mean()
    loss.backward()
    return time.process_time() - before


if __name__ == "__main__":
    main()
