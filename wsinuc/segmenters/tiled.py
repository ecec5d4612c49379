"""What the segmenters that run a network share: everything that their settings and their device decide."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.metrics.calibration import certainty
from wsinuc.metrics.shape_odds import ShapeOdds
from wsinuc.nuclei import Nuclei
from wsinuc.segmenters.tiling import Tiling, TilingConfig
from wsinuc.separation.channels import FIRST_CLASS, FOREGROUND
from wsinuc.separation.joining import Joining
from wsinuc.separation.watershed import instances_from_distance, instances_from_hv


class TiledConfig(TilingConfig, Protocol):
    """What the config of every such segmenter has beside the fields of a tiling."""

    @property
    def joining(self) -> Joining | None: ...
    @property
    def certainty(self) -> tuple[float, float]: ...
    @property
    def shape_odds(self) -> ShapeOdds | None: ...


class TiledSegmenter(Tiling, ABC):
    """A `wsinuc.segmenters.base.Fitted` segmenter but for ``predict``; abstract.

    One whose network has statistics of the slide overrides ``calibrate``, ``statistics`` and ``with_statistics``;
    here there are none.
    """

    config: TiledConfig
    device: torch.device
    dtype: torch.dtype
    weights_sha256: str

    @property
    def batch_size(self) -> int:
        """Tiles per forward pass: a CPU gains nothing from batches and would only compute their padding."""
        if self.device.type == "cpu":
            return 1
        return 8

    @property
    def identity(self) -> str:
        """Names weights, settings, precision, and what else decides a convolution's last bits: device, CPU threads."""
        # On a CPU the number of threads decides the order in which a convolution adds up.
        if self.device.type == "cpu":
            threads = torch.get_num_threads()
        else:
            threads = 0
        facts = [asdict(self.config), self.weights_sha256, str(self.dtype), self.device.type, threads]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def grain(self) -> int:
        """What the side that is kept of a tile must be a multiple of."""
        return 1

    def with_core(self, side: int) -> Self:
        """The same with tiles of which ``side`` pixels are kept, a multiple of `grain`: for images that
        fill no whole tile."""
        other = copy.copy(self)
        other.config = replace(self.config, tile=side + 2 * self.margin)
        return other

    @abstractmethod
    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``, the margin cropped."""

    def calibrate(self, samples: NDArray[np.uint8]) -> TiledSegmenter:
        """A segmenter adjusted to a slide by samples of its tissue, RGB ``(n, side, side, 3)``."""
        return self

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """What ``calibrate`` has measured, by name; empty before."""
        return {}

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> TiledSegmenter:
        """A copy on the same weights with the statistics of a calibrated one."""
        return self

    def claims(self, nuclei: Nuclei) -> NDArray[np.floating]:
        """The means over the pixels of nuclei ``(n,)``, with what their outlines add where the model knows it."""
        if self.config.shape_odds is None:
            return nuclei.probabilities
        return self.config.shape_odds.claims(nuclei.probabilities, nuclei.measurements)

    def certainty(self, nuclei: Nuclei) -> NDArray[np.float32]:
        """The probability ``(n,)`` that each nucleus is right; those of ``nuclei`` are the means over their pixels."""
        return certainty(self.claims(nuclei), self.config.certainty)

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Scores ``(channels, h, w)`` to instances ``(h, w)``."""
        maps = scores[FIRST_CLASS + len(self.classes) :]
        if self.config.separation == "hv":
            return instances_from_hv(scores[FOREGROUND], maps[0], maps[1], self.config.watershed)
        return instances_from_distance(scores[FOREGROUND], maps[0], self.config.watershed, self.config.joining)
