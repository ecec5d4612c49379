"""Make the shipped models again, each by one command, from folders of public data.

    python examples/make_models.py DATA OUT fast [--dry-run]

DATA holds the sets that `train_teacher.py`, `unlabelled_tissue.py` and `train_denoiser.py` name;
OUT gets every stage. The target is one of `student`, `diffusion`, `fast`, `accurate`, `typed`,
`breast`, `denoiser`. Stages whose file exists are left out, and each can be interrupted: the same
command goes on where it stopped. Hours are those of one core of an AMD EPYC that computes in bf16.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES = Path(__file__).parent
WSINUC = "-m wsinuc_cli.main"
TISSUE = (
    "{data}/tnbc {data}/dsb2018_histology {data}/nucls_points {data}/slides/OS-1_HE_original_image.png --mpp 0.25 "
    "--mix sources --labels {data}/tnbc --where-not patient=09,10,11 --patches 500 --seed 1"
)
FOLDED = "--fold 2 --model-mpp 0.25 --patch 400 --crop 256 --steps 2400"


@dataclass(frozen=True, slots=True)
class Stage:
    """One command, what it needs and what it makes."""

    makes: str
    """File or folder in OUT, which exists once the stage is complete."""
    command: str
    """Arguments of Python; {data}, {out} and {examples} stand for folders."""
    hours: float
    """Of one core."""
    needs: tuple[str, ...] = field(default=())
    """What other stages make."""


STAGES = (
    # Models of breast tissue alone, from which the others go on.
    Stage("accurate.safetensors", "{examples}/train_accurate.py {data} {out}", 2.4),
    Stage(
        "first.safetensors",
        f"{WSINUC} distill {{out}}/accurate.safetensors {TISSUE} --model-mpp 0.4 --patch 256 --steps 4000 "
        "-o {out}/first.safetensors",
        0.8,
        ("accurate.safetensors",),
    ),
    Stage(
        "refined.safetensors",
        "{examples}/refine_accurate.py {data} {out}",
        0.8,
        ("accurate.safetensors", "first.safetensors"),
    ),
    Stage(
        "second.safetensors",
        f"{WSINUC} distill {{out}}/crowds.safetensors {TISSUE} --model-mpp 0.4 --patch 256 --steps 1500 --lr 0.0005 "
        "--also {out}/first.safetensors --start {out}/first.safetensors -o {out}/second.safetensors",
        0.4,
        ("refined.safetensors",),
    ),
    Stage(
        "third.safetensors",
        f"{WSINUC} distill {{out}}/refined.safetensors {TISSUE} {FOLDED} --also {{out}}/second.safetensors "
        "--start {out}/second.safetensors -o {out}/third.safetensors",
        0.9,
        ("refined.safetensors", "second.safetensors"),
    ),
    Stage(
        "breast/student.safetensors",
        "{examples}/train_fast.py {data} {out}/refined.safetensors {out}/third.safetensors {out}/breast",
        0.8,
        ("refined.safetensors", "third.safetensors"),
    ),
)


def stages_for(target: str) -> list[Stage]:
    """What makes a file, in order; every stage once."""
    by_file = {stage.makes: stage for stage in STAGES}
    chain: list[Stage] = []

    def add(file: str) -> None:
        stage = by_file[file]
        for needed in stage.needs:
            add(needed)
        if stage not in chain:
            chain.append(stage)

    add(f"{target}.safetensors")
    return chain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("target")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and their hours")
    arguments = parser.parse_args()
    folders = {"data": arguments.data, "out": arguments.out, "examples": EXAMPLES}
    waiting = [stage for stage in stages_for(arguments.target) if not (arguments.out / stage.makes).exists()]
    print(f"{len(waiting)} stages, about {sum(stage.hours for stage in waiting):.1f} hours of one core")
    for stage in waiting:
        command = [sys.executable, *shlex.split(stage.command.format(**folders))]
        print(shlex.join(command), flush=True)
        if not arguments.dry_run:
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
