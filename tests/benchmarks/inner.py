"""What does a network save by computing no more on its way up than what is kept of a tile?

    OMP_NUM_THREADS=1 python tests/benchmarks/inner.py [--model student] [--repeats 7]

The network of a model on one tile, whole and cropped afterwards, and what is kept of it alone, in
turns in one process. Prints medians of CPU seconds, their ratio, and the largest difference between
both results.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from wsinuc.segmenters import load_segmenter, member_path
from wsinuc.segmenters.network import NetworkSegmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    segmenter = load_segmenter(str(member_path(arguments.model)), device="cpu")
    if not isinstance(segmenter, NetworkSegmenter):
        raise SystemExit(f"{arguments.model} is no single network: choose student, or a model of your own")
    network, margin = segmenter.network, segmenter.margin
    x = (torch.rand(1, 3, segmenter.tile, segmenter.tile) * 2 - 1).to(segmenter.dtype)
    with torch.inference_mode():
        difference = (network(x).without(margin - network.lost).maps - network.inner(x, margin).maps).abs().max()
        runs = [
            (seconds(lambda: network(x)), seconds(lambda: network.inner(x, margin))) for _ in range(arguments.repeats)
        ]
    whole, inner = (median(each) for each in zip(*runs, strict=True))
    print(f"tile {segmenter.tile} px, margin {margin} px: {whole:.3f} s whole, {inner:.3f} s what is kept,", end=" ")
    print(f"ratio {inner / whole:.2f}, largest difference {float(difference):g}")


def seconds(work: Callable[[], object]) -> float:
    """CPU time of a call, of all threads."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
