"""What a denoiser knows of tissue: images with more and more noise, and what it makes of them.

python examples/figures/denoised.py denoiser docs/images/denoised.png IMAGE MPP [IMAGE MPP ...]

Each image is a pair of rows: its middle with noise of t = 50, 150, 300 and 500, and below it the clean image that the
denoiser estimates from each in one step (Ho et al. 2020, equation 15).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wsinuc.models.checkpoints.denoisers import load_denoiser
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.pixels import from_network, to_network
from wsinuc.segmenters import denoiser_path

TIMES = (50, 150, 300, 500)
SIDE = 192
GAP = 6


def middle(path: Path, scale: float) -> Tensor:
    """The middle of an image at the denoiser's resolution, ``(1, 3, SIDE, SIDE)``."""
    picture = Image.open(path).convert("RGB")
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX)
    left = (picture.width - SIDE) // 2
    top = (picture.height - SIDE) // 2
    return to_network(np.array(picture.crop((left, top, left + SIDE, top + SIDE)))[None])


@torch.inference_mode()
def rows_of(clean: Tensor, name: str) -> list[list[Tensor]]:
    """The image with noise, and what the denoiser estimates."""
    network, process = load_denoiser(load_denoiser_checkpoint(denoiser_path(name)))
    network = network.float()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = [clean]
    estimates = [clean]
    for time in TIMES:
        t = torch.tensor([time])
        xt = process.noise(clean, t, noise)
        noisy.append(xt)
        estimates.append(process.predict_x0(xt, t, network(xt, t)))
    return [noisy, estimates]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("denoiser")
    parser.add_argument("out", type=Path)
    parser.add_argument("images", nargs="+", metavar="IMAGE MPP")
    arguments = parser.parse_args()
    mpp = load_denoiser_checkpoint(denoiser_path(arguments.denoiser)).config["mpp"]
    pairs = zip(arguments.images[::2], arguments.images[1::2], strict=True)
    rows = [row for path, own in pairs for row in rows_of(middle(Path(path), float(own) / mpp), arguments.denoiser)]
    step = SIDE + GAP
    sheet = Image.new("RGB", (len(rows[0]) * step - GAP, len(rows) * step - GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(Image.fromarray(from_network(image)[0]), (x * step, y * step))
    sheet.save(arguments.out)


if __name__ == "__main__":
    main()
