"""What do models cost, beside each other on the same tissue in one process?

    OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/models.py fast accurate [--slide SLIDE]
    [--side-um 384] [--json FILE]

Each model (a shipped name or a file) segments one square of the slide at its own resolution; the
batches that its network was given and the scores that it separated are kept and repeated, one model
after the other in every round, so that a machine whose speed varies is as slow for all of them.
Medians of CPU seconds (of all threads) and of wall time.

A pixel counts once it is scored: megapixels of the network are those of the tiles' cores, and what
tiles overlap is a cost. Operations are those of matrix products and convolutions. The rate of the
machine is that of a 3 x 3 convolution in bf16, measured in the same rounds; on a CPU, shares are of
CPU time. Prints a table in Markdown; ``ratio`` is the cost of a model per mm2 over that of the
first one.
"""

from __future__ import annotations

import argparse
import json
import platform
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.grid import Block, Box
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.tissue import find_tissue, whole
from wsinuc.workflows.bench import ceilings
from wsinuc.workflows.bench.meter import Usage, metered

SLIDE = Path("examples/data/CMU-1-Small-Region.svs")
GPU_FLOPS, GPU_SHARE = 790e12, 0.4
"""Matrix products of a large GPU in bf16, per second, and the share of them that is assumed."""


@dataclass
class Work:
    """What one model is given: the segmenter that keeps it, and what repeating it cost."""

    model: str
    wrapped: Any
    batches: list[NDArray[np.uint8]] = field(default_factory=list)
    scores: list[NDArray[np.uint8]] = field(default_factory=list)
    network: list[Usage] = field(default_factory=list)
    separation: list[Usage] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.batches.append(pixels)
        return self.wrapped.predict(pixels)

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        self.scores.append(scores)
        return self.wrapped.separate(scores)

    def run_network(self) -> None:
        for batch in self.batches:
            self.wrapped.predict(batch)

    def run_separation(self) -> None:
        for scores in self.scores:
            self.wrapped.separate(scores)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one model costs; Mpx are megapixels at its own resolution."""

    model: str
    mpp: float
    dtype: str
    network_cpu_s_per_mpx: float
    separation_cpu_s_per_mpx: float
    cpu_s_per_mpx: float
    cpu_s_per_mm2: float
    s_per_mm2: float
    """Wall time of network and separation, one after the other."""
    gflop_per_mpx: float
    gflop_per_mm2: float
    gflops: float
    """Per second of the network: CPU time on a CPU, else wall time."""
    share_of_convolution: float
    gpu_s_per_mm2: float
    """Operations at `GPU_SHARE` of `GPU_FLOPS`."""
    ratio: float
    """Cost per mm2 over that of the first model: CPU time on a CPU, else wall time."""


def main() -> None:
    args = parse()
    works = [prepared(model, args) for model in args.models]
    device = works[0].device
    convolve, operations = ceilings.convolution(device, torch.bfloat16)
    convolve()
    rates = []
    for _ in range(args.repeats):
        rates.append(operations / seconds(metered(convolve)[1], device))
        for work in works:
            work.network.append(metered(work.run_network)[1])
            work.separation.append(metered(work.run_separation)[1])
    rate = median(rates)
    costs: list[Cost] = []
    for work in works:
        costs.append(cost(work, rate, costs[0] if costs else None))
    facts = {
        "machine": f"{platform.machine()}, {device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}",
        "slide": args.slide.name,
        "side_um": args.side_um,
        "repeats": args.repeats,
        "convolution_gflops": rate / 1e9,
    }
    print(table(costs, facts))
    if args.json:
        args.json.write_text(json.dumps(facts | {"models": [asdict(each) for each in costs]}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="the first is what others are held against")
    parser.add_argument("--slide", type=Path, default=SLIDE)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--side-um", type=float, default=384.0, help="side of the square, from the slide's middle")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    return parser.parse_args()


def prepared(model: str, args: argparse.Namespace) -> Work:
    """A model that has worked once on the square: fitted to the slide, compiled, its batches and scores kept."""
    segmenter = load_segmenter(model, device=args.device)
    with open_slide(args.slide) as slide:
        view = slide.at(segmenter.mpp)
        work = Work(model, calibrated(view, segmenter, find_tissue(view)))
        pixels, mpp = square(slide, args.side_um), slide.mpp
    with ArraySlide(pixels, mpp=mpp) as slide:
        view = slide.at(segmenter.mpp)
        box = Box.of_shape(view.shape)
        size = args.batch_size or segmenter.batch_size
        block = Block(index=0, core=box, read=box)
        process_block(view, block, work, batch_size=size, tissue=whole(view), gate=threading.Lock())
    return work


def square(slide: Any, side_um: float) -> NDArray[np.uint8]:
    """RGB of the middle of a slide at its full resolution."""
    height, width = slide.level_shapes[0]
    side = min(round(side_um / slide.mpp), height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return slide.read(Box(y, x, y + side, x + side), 0)


def cost(work: Work, rate: float, first: Cost | None) -> Cost:
    """Medians of what was measured, per megapixel and per mm2."""
    segmenter: Segmenter = work.wrapped
    mm2_per_mpx = segmenter.mpp**2
    scored = sum(map(len, work.batches)) * (segmenter.tile - 2 * segmenter.margin) ** 2 / 1e6
    separated = sum(scores[0].size for scores in work.scores) / 1e6
    cpu = [median(u.cpu_seconds for u in runs) for runs in (work.network, work.separation)]
    wall = [median(u.seconds for u in runs) for runs in (work.network, work.separation)]
    network, separation = cpu[0] / scored, cpu[1] / separated
    wall_mm2 = (wall[0] / scored + wall[1] / separated) / mm2_per_mpx
    flop = ceilings.flop(work.run_network)
    spent = median(seconds(usage, work.device) for usage in work.network)
    cpu_mm2 = (network + separation) / mm2_per_mpx
    on_cpu = work.device.type == "cpu"
    mine = cpu_mm2 if on_cpu else wall_mm2
    others = mine if first is None else (first.cpu_s_per_mm2 if on_cpu else first.s_per_mm2)
    return Cost(
        model=Path(work.model).stem,
        mpp=segmenter.mpp,
        dtype=str(work.dtype).removeprefix("torch."),
        network_cpu_s_per_mpx=network,
        separation_cpu_s_per_mpx=separation,
        cpu_s_per_mpx=network + separation,
        cpu_s_per_mm2=cpu_mm2,
        s_per_mm2=wall_mm2,
        gflop_per_mpx=flop / scored / 1e9,
        gflop_per_mm2=flop / scored / mm2_per_mpx / 1e9,
        gflops=flop / spent / 1e9,
        share_of_convolution=flop / spent / rate,
        gpu_s_per_mm2=flop / scored / mm2_per_mpx / (GPU_SHARE * GPU_FLOPS),
        ratio=mine / others,
    )


def seconds(usage: Usage, device: torch.device) -> float:
    """What rates are held against: CPU time where the CPU computes, so that other processes do not matter."""
    return usage.cpu_seconds if device.type == "cpu" else usage.seconds


def table(costs: list[Cost], facts: dict[str, Any]) -> str:
    """Markdown: a row per model."""
    columns = {
        "model": lambda c: c.model,
        "um/px": lambda c: f"{c.mpp:g}",
        "network, CPU s/Mpx": lambda c: f"{c.network_cpu_s_per_mpx:.2f}",
        "separation": lambda c: f"{c.separation_cpu_s_per_mpx:.3f}",
        "together": lambda c: f"{c.cpu_s_per_mpx:.2f}",
        "CPU s/mm2": lambda c: f"{c.cpu_s_per_mm2:.1f}",
        "s/mm2": lambda c: f"{c.s_per_mm2:.2f}",
        "ratio": lambda c: f"{c.ratio:.3f}",
        "GFLOP/Mpx": lambda c: f"{c.gflop_per_mpx:,.0f}",
        "GFLOP/mm2": lambda c: f"{c.gflop_per_mm2:,.0f}",
        "GFLOP/s": lambda c: f"{c.gflops:,.1f}",
        "of bf16 convolution": lambda c: f"{c.share_of_convolution:.2f}",
        f"s/mm2 at {GPU_SHARE:.0%} of {GPU_FLOPS / 1e12:g} TFLOP/s": lambda c: f"{c.gpu_s_per_mm2:.3f}",
    }
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(str(show(each)) for show in columns.values()) for each in costs]
    head = ", ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
    )
    return head + "\n\n" + "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
