"""Pixel classifiers on frozen features: method A, and every other network read in the same way.

Features of the test squares are computed once for all runs of a network, and those of a seed's
windows once for all numbers of windows. As published: ten classifiers, batches of 64 pixels, a
tenth of the background, a vote by majority. Deviations, for the sake of time: at most 4,000 pixels
of each window teach, and classifiers read at the finest features' own resolution of 2 px.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from pixel_scores import ClassMap
from torch import Tensor

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.devices import pick_dtype
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.pixels import to_network
from wsinuc.workflows.train.ddpm import load_extractor
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble
from wsinuc.workflows.train.pixel_table import PixelTable, SamplingConfig, collect_pixels

CPU = torch.device("cpu")
BLOCKS = (6, 8, 10, 12)
DENOISED = FeatureConfig(timesteps=(50, 150, 250), blocks=BLOCKS)
"""What a denoiser is read at: 672 features of a network of base 32."""
CLEAN = FeatureConfig(timesteps=(0,), blocks=BLOCKS)
"""What the rivals are read at: they know t = 0 alone, and give 224 features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConfig:
    """How classifiers are fitted and read."""

    sampling: SamplingConfig = field(default_factory=lambda: replace(SamplingConfig.paper(), pixels=4000))
    fit: EnsembleFitConfig = field(default_factory=EnsembleFitConfig.paper)
    members: int = 10
    hidden: int = 128
    factor: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class FrozenNetwork:
    """A network whose features are read, with those of the test squares."""

    extractor: FeatureExtractor
    test_maps: list[dict[int, Tensor]]
    config: ReadingConfig

    @classmethod
    def load(
        cls, weights: Path, features: FeatureConfig, test: Sequence[LabelledImage], config: ReadingConfig
    ) -> FrozenNetwork:
        """Read weights, and compute the features of all test squares in the precision of inference."""
        extractor = load_extractor(load_checkpoint(weights, "denoiser"), features, CPU)
        extractor.unet.to(pick_dtype(CPU))
        maps = [extractor(to_network(square.image[None])) for square in test]
        return cls(extractor, maps, config)

    def table(self, windows: Sequence[LabelledImage], seed: int) -> PixelTable:
        """Pixels of the windows that classifiers learn from."""
        with tempfile.TemporaryDirectory() as folder:
            return collect_pixels(
                windows, self.extractor, windows[0].mpp, self.config.sampling, seed=seed, folder=Path(folder)
            )

    def fitted(self, table: PixelTable, count: int, classes: int, seed: int) -> PixelClassifierEnsemble:
        """Classifiers that have learned from the first ``count`` windows of a table."""
        assert table.images is not None, "collect_pixels says which image a pixel is of"
        shape = EnsembleConfig(
            channels=tuple(self.extractor.channels.items()),
            classes=classes + 1,
            maps=0,
            members=self.config.members,
            hidden=self.config.hidden,
            norm="batch",
            factor=self.config.factor,
        )
        rows = (table.images < count).nonzero().flatten()
        return fit_ensemble(table, shape, self.config.fit, seed=seed, rows=rows, device=CPU)

    def predict(self, ensemble: PixelClassifierEnsemble, number: int) -> ClassMap:
        """Classes of the pixels of a test square, by majority."""
        majority = ensemble.vote(self.test_maps[number]).majority[0]
        return np.asarray(majority.numpy(), np.int64)
