"""What does a step of learning cost in bf16 and in fp32, with the instructions of this processor and of older ones?

    OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/precision.py [--repeats 6]

Forward and backward of the U-Net on two crops of 128 px, the least CPU time of all repeats, in turns. Older processors
are what oneDNN is told not to use (`ONEDNN_MAX_CPU_ISA`), each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import torch
from torch import Tensor, nn

from wsinuc.models.devices import forward_pass, on_device
from wsinuc.models.freed_memory import keep_freed_memory
from wsinuc.models.networks.by_name import build_network

LIMIT = "ONEDNN_MAX_CPU_ISA"
INSTRUCTIONS = {
    "all of this processor": "DEFAULT",
    "AVX-512 with bf16": "AVX512_CORE_BF16",
    "AVX-512": "AVX512_CORE",
    "AVX2": "AVX2",
}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    repeats = parser.parse_args().repeats
    if LIMIT in os.environ:
        bf16, fp32 = least_seconds(repeats)
        print(f"{bf16:.3f} | {fp32:.3f}")
        return
    print("| instructions | bf16, s | fp32, s |\n|---|---|---|")
    command = [sys.executable, __file__, "--repeats", str(repeats)]
    for name, limit in INSTRUCTIONS.items():
        row = subprocess.run(command, env=os.environ | {LIMIT: limit}, check=True, capture_output=True, text=True)
        print(f"| {name} | {row.stdout.strip()} |", flush=True)


def least_seconds(repeats: int) -> tuple[float, float]:
    """CPU seconds of a step in bf16 and in fp32."""
    keep_freed_memory()
    network = on_device(build_network("unet", {"classes": 2, "maps": 1}), CPU).train()
    pixels = torch.randn(2, 3, 128, 128)
    spent: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(1 + repeats):
        for bf16, seconds in spent.items():
            seconds.append(step(network, pixels, bf16))
    # The first of each compiles.
    return min(spent[True][1:]), min(spent[False][1:])


def step(network: nn.Module, pixels: Tensor, bf16: bool) -> float:
    """CPU seconds of one forward and backward pass."""
    network.zero_grad(set_to_none=True)
    before = time.process_time()
    with forward_pass(CPU, bf16):
        raw = network(pixels).float()
    (raw.classes.square().mean() + raw.maps.square().mean()).backward()
    return time.process_time() - before


if __name__ == "__main__":
    main()
