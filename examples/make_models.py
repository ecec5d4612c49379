"""Make the shipped models again, each by one command, from folders of public data.

    python examples/make_models.py DATA OUT fast [--dry-run]

DATA holds the sets that `train_teacher.py`, `unlabelled_tissue.py` and `train_denoiser.py` name;
OUT gets what every stage makes, and wsinuc/weights the finished model. The target is one of
`student`, `diffusion`, `fast`, `accurate` and `denoiser`. Stages whose file exists are left out,
and each can be interrupted: the same command goes on where it stopped. Hours are those of one core
of an AMD EPYC that computes in bf16. Seeds are fixed, but the weights that ship were made by
earlier states of these scripts in part, so that they come out alike and not equal.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from wsinuc.segmenters import WEIGHTS

EXAMPLES = Path(__file__).parent
WSINUC = "-m wsinuc_cli.main"
TISSUE = (
    "{data}/tnbc {data}/dsb2018_histology nucls={data}/nucls_points {data}/slides/OS-1_HE_original_image.png "
    "--mpp 0.25 --mix sources --labels {data}/tnbc --where-not patient=09,10,11 --patches 500 --seed 1"
)
TEACH = "{examples}/teach_tissue.py {data}"
JOIN = "{examples}/teach_joining.py"
FINISH = "{examples}/finish_model.py"
OUTLINES = "{examples}/fit_shape_odds.py"
COPY = '-c "import shutil, sys; shutil.copy(*sys.argv[1:])"'
LAST = "0375.npy"
"""What `teach_tissue.py` writes for the last image."""
TUNE = "{examples}/tune_network.py {data}"
FIRST = "--taught {out}/said/refined --taught {out}/said/former"
FOLDED = "--fold 2 --model-mpp 0.25 --patch 400 --crop 256 --steps 2400"


@dataclass(frozen=True, slots=True)
class Stage:
    """One command, what it needs and what it makes."""

    makes: str
    """File or folder in OUT, which exists once the stage is complete."""
    command: str
    """Arguments of Python, `` && `` between commands; {data}, {out}, {weights} and {examples} stand for folders."""
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
        "former/student.safetensors",
        "{examples}/train_fast.py {data} {out}/refined.safetensors {out}/third.safetensors {out}/former",
        0.8,
        ("refined.safetensors", "third.safetensors"),
    ),
    # What they say of unlabelled tissue teaches a wide network of 31 organs, and `diffusion`.
    Stage(
        f"said/refined/{LAST}",
        f"{TEACH} {{out}}/refined.safetensors {{out}}/said/refined",
        0.3,
        ("refined.safetensors",),
    ),
    Stage(
        f"said/former/{LAST}",
        f"{TEACH} {{out}}/former/student.safetensors {{out}}/said/former --sizes 3/4,1,5/4",
        0.1,
        ("former/student.safetensors",),
    ),
    Stage(
        "teacher-7000.safetensors",
        "{examples}/train_teacher.py {data} {out} --until 7000 && "
        f"{COPY} {{out}}/teacher.safetensors {{out}}/teacher-7000.safetensors",
        2.6,
    ),
    Stage(
        "taught.safetensors",
        f"{TUNE} {{out}}/teacher-7000.safetensors {{out}}/taught.safetensors {FIRST} --steps 3600 --rate 0.0007 "
        "--average 0.998 --crop 224 --taught-crops 4 --labelled-crops 3 --bf16",
        0.8,
        ("teacher-7000.safetensors", f"said/refined/{LAST}", f"said/former/{LAST}"),
    ),
    Stage(
        f"said/taught/{LAST}", f"{TEACH} {{out}}/taught.safetensors {{out}}/said/taught", 0.2, ("taught.safetensors",)
    ),
    Stage(
        "tuned.safetensors",
        f"{{examples}}/tune_diffusion.py {{data}} {{out}}/refined.safetensors {{out}}/tuned.safetensors {FIRST}",
        0.4,
        ("refined.safetensors", f"said/refined/{LAST}", f"said/former/{LAST}"),
    ),
    Stage(f"said/tuned/{LAST}", f"{TEACH} {{out}}/tuned.safetensors {{out}}/said/tuned", 0.3, ("tuned.safetensors",)),
    Stage(
        "diffusion.safetensors",
        "{examples}/tune_diffusion.py {data} {out}/tuned.safetensors {out}/diffusion.safetensors "
        f"{FIRST} --steps 1500 --seed 42",
        0.8,
        ("tuned.safetensors",),
    ),
    Stage(
        f"said/diffusion/{LAST}",
        f"{TEACH} {{out}}/diffusion.safetensors {{out}}/said/diffusion",
        0.3,
        ("diffusion.safetensors",),
    ),
    # The student goes on, taught by better and better models.
    Stage(
        "student-1.safetensors",
        f"{TUNE} {{out}}/former/student.safetensors {{out}}/student-1.safetensors {FIRST} --steps 1600 --seed 5",
        0.3,
        (f"said/refined/{LAST}", f"said/former/{LAST}"),
    ),
    Stage(
        "student-2.safetensors",
        f"{TUNE} {{out}}/student-1.safetensors {{out}}/student-2.safetensors "
        "--taught {out}/said/tuned --taught {out}/said/taught --steps 2000 --seed 7",
        0.3,
        ("student-1.safetensors", f"said/tuned/{LAST}", f"said/taught/{LAST}"),
    ),
    Stage(
        "student-3.safetensors",
        f"{TUNE} {{out}}/student-2.safetensors {{out}}/student-3.safetensors "
        "--taught {out}/said/tuned --taught {out}/said/tuned --taught {out}/said/refined --taught {out}/said/taught "
        "--steps 2000 --seed 7",
        0.4,
        ("student-2.safetensors",),
    ),
    Stage(
        "student.safetensors",
        f"{TUNE} {{out}}/student-3.safetensors {{out}}/student.safetensors "
        "--taught {out}/said/diffusion --taught {out}/said/diffusion --taught {out}/said/refined "
        "--taught {out}/said/taught --steps 2500 --seed 8",
        0.4,
        ("student-3.safetensors", f"said/diffusion/{LAST}"),
    ),
    # The rule of joining and the certainty. `fast` and `accurate` name their members as they ship, so these go first.
    Stage(
        "shipped/student.safetensors",
        f"{COPY} {{out}}/student.safetensors {{weights}}/student.safetensors && {JOIN} {{weights}}/student.safetensors "
        f"{{data}} && {FINISH} {{weights}}/student.safetensors {{data}} && "
        f"{COPY} {{weights}}/student.safetensors {{out}}/shipped/student.safetensors",
        0.05,
        ("student.safetensors",),
    ),
    Stage(
        "shipped/diffusion.safetensors",
        f"{COPY} {{out}}/diffusion.safetensors {{weights}}/diffusion.safetensors && "
        f"{JOIN} {{weights}}/diffusion.safetensors {{data}} --crops 400 && "
        f"{FINISH} {{weights}}/diffusion.safetensors {{data}} && "
        f"{COPY} {{weights}}/diffusion.safetensors {{out}}/shipped/diffusion.safetensors",
        0.2,
        ("diffusion.safetensors",),
    ),
    Stage(
        "shipped/fast.safetensors",
        f"{COPY} {{out}}/former/student.safetensors {{weights}}/student-tnbc.safetensors && "
        f"{JOIN} {{weights}}/student-tnbc.safetensors {{data}} && "
        f"{FINISH} {{weights}}/student-tnbc.safetensors {{data}} && "
        "{examples}/join_models.py fast {weights}/fast.safetensors {data} --student student --former student-tnbc && "
        f"{JOIN} {{weights}}/fast.safetensors {{data}} && {FINISH} {{weights}}/fast.safetensors {{data}} && "
        f"{OUTLINES} {{weights}}/fast.safetensors {{data}} && "
        f"{COPY} {{weights}}/fast.safetensors {{out}}/shipped/fast.safetensors",
        0.15,
        ("shipped/student.safetensors", "former/student.safetensors"),
    ),
    Stage(
        "shipped/accurate.safetensors",
        "{examples}/join_models.py accurate {weights}/accurate.safetensors {data} --student student "
        f"--diffusion diffusion && {FINISH} {{weights}}/accurate.safetensors {{data}} && "
        f"{OUTLINES} {{weights}}/accurate.safetensors {{data}} && "
        f"{COPY} {{weights}}/accurate.safetensors {{out}}/shipped/accurate.safetensors",
        0.3,
        ("shipped/student.safetensors", "shipped/diffusion.safetensors"),
    ),
    Stage(
        "shipped/denoiser.safetensors",
        "{examples}/train_denoiser.py {data} {out}/denoiser.safetensors --shipped {weights}/denoiser.safetensors && "
        f"{COPY} {{weights}}/denoiser.safetensors {{out}}/shipped/denoiser.safetensors",
        2.4,
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

    add(f"shipped/{target}.safetensors")
    return chain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("target")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and their hours")
    arguments = parser.parse_args()
    folders = {"data": arguments.data, "out": arguments.out, "examples": EXAMPLES, "weights": WEIGHTS}
    if not arguments.dry_run:
        (arguments.out / "shipped").mkdir(parents=True, exist_ok=True)
    waiting = [stage for stage in stages_for(arguments.target) if not (arguments.out / stage.makes).exists()]
    print(f"{len(waiting)} stages, about {sum(stage.hours for stage in waiting):.1f} hours of one core")
    for command in [command for stage in waiting for command in stage.command.split(" && ")]:
        words = [sys.executable, *shlex.split(command.format(**folders))]
        print(shlex.join(words), flush=True)
        if not arguments.dry_run:
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
