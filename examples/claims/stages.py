"""Chains of `wsinuc` commands, as a user types them, each done once and again only where its words or inputs change.

What a command trains it continues itself when it was interrupted; what is done says so in a file
beside its output.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from network_rows import NetworkRow, blank_step
from records import Price, cpu_seconds, is_done, write_record
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.models.checkpoints.file_header import file_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One command."""

    words: tuple[str, ...]
    """After ``wsinuc``."""
    output: Path
    """What it writes: a file or a folder."""
    reads: tuple[Path, ...] = ()
    """Files, made by earlier stages, on which it depends."""
    flops: float = 0.0
    """Of the whole stage; 0 where nobody has counted them."""

    @property
    def receipt(self) -> Path:
        """Says that it is done."""
        return self.output.with_name(self.output.name + ".done.json")

    @property
    def inputs(self) -> dict[str, object]:
        """What it begins with."""
        return {"words": list(self.words), "reads": {path.name: file_sha256(path) for path in self.reads}}

    @property
    def done(self) -> bool:
        """Whether its output is there and of these inputs."""
        there = self.output.exists() and all(path.exists() for path in self.reads)
        return there and is_done(self.receipt, {"stage": self.inputs})

    @property
    def name(self) -> str:
        """In a few words."""
        return f"{self.words[0]} -> {self.output.name}"


def run_stages(stages: Sequence[Stage], stop: Callable[[], bool]) -> bool:
    """Run what is not done, in order; whether all is done. A stage is never cut short."""
    for stage in stages:
        if stage.done:
            continue
        if stop():
            return False
        stage.output.parent.mkdir(parents=True, exist_ok=True)
        print(" ".join(("wsinuc", *stage.words)), flush=True)
        subprocess.run([sys.executable, "-m", "wsinuc_cli.main", *stage.words], check=True)
        write_record(stage.receipt, {"inputs": {"stage": stage.inputs}})
    return True


def stage_prices(stages: Sequence[Stage], flops_per_second: float) -> list[Price]:
    """What the stages that are left take, by how fast this machine trains."""
    left = [stage for stage in stages if not stage.done]
    return [Price(what=stage.name, runs=1, seconds=stage.flops / flops_per_second) for stage in left]


def machine_speed() -> float:
    """FLOP a second of one core in a training step of a plain U-Net, whose FLOPs are counted."""
    row = NetworkRow(method="unet", base=32)
    step = blank_step(row.build(1), row.batch, row.crop)
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / cpu_seconds(step, 2)
