"""Claim A's pre-trainings: one network, taught by denoising tissue, by denoising photographs, and by two rivals.

    python examples/claims/pretrain_a.py DATA OUT [--marks 2000,5000] [--names tissue] [--minutes 60] [--price]

The network is the paper's but for its width (base 32 instead of 128): six levels, two residual
blocks, attention at factors 8, 16 and 32, so that blocks 6, 8, 10 and 12 at t = 50, 150 and 250
give 672 features a pixel. Patches have 128 px at 0.25 um per px, where the paper has 256.

OUT gets NAME-STEPS.safetensors at 2, 5, 10 and 15 thousand steps of each training, and random
weights as `random-0.safetensors`. Interrupt it at will: the same command goes on where it stopped.
The photographs need scikit-learn beside wsinuc.
"""

from __future__ import annotations

from pathlib import Path

import torch
from labelled_sets import TISSUE, require_folders
from pretraining import Pretraining, prices, run_from_data, write_random
from records import experiment_parser, print_prices

from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.workflows.denoiser.config import PretrainConfig

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
PRETRAININGS = (
    Pretraining("tissue", "tissue", "denoise"),
    Pretraining("photographs", "photographs", "denoise"),
    Pretraining("masked", "tissue", "mask"),
    Pretraining("contrast", "tissue", "contrast"),
    Pretraining("little-tissue", "little-tissue", "denoise"),
)
"""``little-tissue`` has as many pixels as the photographs: it parts what is shown from how much of it there is."""


def main() -> None:
    parser = experiment_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--names", default=",".join(each.name for each in PRETRAININGS), help="which pre-trainings, in the order given"
    )
    parser.add_argument("--marks", default=",".join(map(str, MARKS)), help="steps to train for, and to keep weights at")
    options = parser.parse_args()
    torch.set_num_threads(1)
    marks = tuple(int(each) for each in options.marks.split(","))
    require_folders(options.data, TISSUE)
    by_name = {each.name: each for each in PRETRAININGS}
    chosen = tuple(by_name[name] for name in options.names.split(","))
    print_prices(prices(chosen, marks, options.out, CONFIG))
    if options.price:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    write_random(options.out / "random-0.safetensors", CONFIG)
    run_from_data(chosen, marks, options.data, options.out, CONFIG, options.minutes)


if __name__ == "__main__":
    main()
