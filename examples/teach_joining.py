"""Teach a model which fragments of nuclei belong together, from the annotated images that shipped
models may learn from.

    python examples/teach_joining.py MODEL DATA [--crops 500]

DATA is as for `train_teacher.py`; what that leaves out is left out here. The rule is written into
MODEL (see `wsinuc join`, which does this for one's own images). Run `finish_model.py` afterwards:
other nuclei are found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from train_teacher import learnt_from

from wsinuc.separation.joining import DESCRIPTORS
from wsinuc.workflows.join.run import JoiningFit, train_joining

SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--crops", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = learnt_from(arguments.data, SEED)
    config = JoiningFit(crops=arguments.crops, seed=SEED)
    found = train_joining(
        source.images, str(arguments.model), arguments.model, config, weights=source.weights, device="cpu"
    )
    for name, weight in zip(DESCRIPTORS, found.joining.weights, strict=True):
        print(f"{weight:8.3f}  {name}")
    print(f"{found.joining.offset:8.3f}  offset")
    print(
        f"{found.joins} joins; decided right of held-out ones, by what is at stake: {found.decided:.3f}, "
        f"by one height {found.decided_by_height:.3f}"
    )


if __name__ == "__main__":
    main()
