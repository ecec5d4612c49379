"""Peak memory of training the published ensemble: 448 patches of 256 px, 2688 features, 10 members.

``python tests/benchmarks/ensemble_memory.py [--pixels 2000] [--memory-gib 6]``

A U-Net of base 128 with random weights computes real features of a few patches, through
`collect_pixels` as a training does. Computing all 448 would take a CPU most of an hour and change
no peak, so the other patches' rows are these again, with noise, put into the same `RowStore` in the
same portions. The fit then runs on the full table for some batches, when all its memory (orders of
the rows, optimiser, gathered batches) is in use. Reported is the largest resident set of the
process; pages of a mapped file (``--memory-gib`` below the size of the table) are in it, though the
system can take them back.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble
from wsinuc.workflows.train.pixel_table import PixelTable, RowStore, SamplingConfig, collect_pixels

PATCHES, SIDE = 448, 256


class EnoughError(Exception):
    """The fit has run for as long as was asked."""


def patch(seed: int) -> LabelledImage:
    """Random pixels with a grid of nuclei."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number, (y, x) in enumerate(np.ndindex(8, 8), start=1):
        labels[y * 32 + 8 : y * 32 + 24, x * 32 + 8 : x * 32 + 24] = number
    image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return LabelledImage(name=f"patch{seed}", image=image, labels=labels, attributes={}, mpp=0.5)


def peak_gib() -> float:
    """Largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=2000, help="rows per patch")
    parser.add_argument("--real", type=int, default=2, help="patches whose features are computed")
    parser.add_argument("--memory-gib", type=float, default=6.0)
    parser.add_argument("--batches", type=int, default=20)
    arguments = parser.parse_args()
    extractor = FeatureExtractor(UNet(UNetConfig(base=128)), GaussianDiffusion(), FeatureConfig())
    sampling = SamplingConfig(visits=1, pixels=arguments.pixels, memory_gib=arguments.memory_gib)
    real = collect_pixels([patch(i) for i in range(arguments.real)], extractor, 0.5, sampling)
    print(f"features of {arguments.real} patches, {len(real)} rows of {real.features.shape[1]}: {peak_gib():.2f} GiB")
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore(real.features.shape[1], PATCHES * arguments.pixels, arguments.memory_gib, Path(folder))
        for i in range(PATCHES):
            start = (i % arguments.real) * arguments.pixels
            rows = real.features[start : start + arguments.pixels].float()
            store.append(rows + 0.01 * torch.randn_like(rows))
        repeats = -(-PATCHES // arguments.real)
        features = store.finish()
        table = PixelTable(
            features, real.classes.repeat(repeats)[: len(features)], real.maps.repeat(repeats, 1)[: len(features)]
        )
        print(f"table of {len(table)} rows, {features.nbytes / 2**30:.2f} GiB: {peak_gib():.2f} GiB")
        shape = EnsembleConfig(
            channels=tuple(extractor.channels.items()), classes=2, maps=1, members=10, hidden=128, norm="batch"
        )
        done = 0

        def stop(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal done
            done += isinstance(module, PixelClassifierEnsemble)
            if done > arguments.batches:
                raise EnoughError

        hook = nn.modules.module.register_module_forward_hook(stop)
        try:
            fit_ensemble(table, shape, EnsembleFitConfig())
        except EnoughError:
            print(f"after {arguments.batches} batches of the fit: {peak_gib():.2f} GiB")
        finally:
            hook.remove()


if __name__ == "__main__":
    main()
