"""What a model that names the nuclei of another one says of itself as the one inside does.

Nothing of it needs PyTorch, so the outline of such a model has it, too.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsinuc.nuclei import Nuclei
from wsinuc.segmenters.base import Certain, Coloured, Segmenter, Tiled
from wsinuc.segmenters.cutoffs import Adjustable, Cutoffs
from wsinuc.segmenters.normalisation import ColourNormalisation


class TiledOnBase:
    """Sees a slide as ``base`` does; see `wsinuc.segmenters.base.Tiled`."""

    base: Tiled

    @property
    def mpp(self) -> float:
        """um per pixel that the base works at."""
        return self.base.mpp

    @property
    def mpp_range(self) -> tuple[float, float]:
        """um per pixel of the slides it accepts, finest and coarsest."""
        return self.base.mpp_range

    @property
    def tile(self) -> int:
        """Side of a network input in pixels."""
        return self.base.tile

    @property
    def margin(self) -> int:
        """Pixels cropped from each side of a tile's scores."""
        return self.base.margin

    @property
    def min_halo(self) -> int:
        """Pixels to read around a block."""
        return self.base.min_halo

    @property
    def channels(self) -> int:
        """Score channels, those of the base."""
        return self.base.channels

    @property
    def cutoffs(self) -> Cutoffs | None:
        """From which probability and area there is a nucleus; None of a base of another make."""
        if isinstance(self.base, Adjustable):
            return self.base.cutoffs
        return None

    @property
    def own_cutoffs(self) -> Cutoffs | None:
        """The same as the base's file has it."""
        if isinstance(self.base, Adjustable):
            return self.base.own_cutoffs
        return None

    def with_cutoffs(self, cutoffs: Cutoffs) -> Self:
        """A copy whose base has other cutoffs; for a model whose ``cutoffs`` are known."""
        assert isinstance(self.base, Adjustable), "a base of another make has no cutoffs"
        other = copy.copy(self)
        other.base = self.base.with_cutoffs(cutoffs)
        return other


class SegmenterOnBase(TiledOnBase):
    """Runs as ``base`` does, and knows what it knows of colours and of how often nuclei are right."""

    base: Segmenter

    @property
    def batch_size(self) -> int:
        """Tiles per forward pass."""
        return self.base.batch_size

    @property
    def training_colours(self) -> ColourNormalisation | None:
        """Those of its base."""
        if isinstance(self.base, Coloured):
            return self.base.training_colours
        return None

    def certainty(self, nuclei: Nuclei) -> NDArray[np.float32]:
        """The base's own, since the nuclei are; raw probabilities of a base that was not measured."""
        if isinstance(self.base, Certain):
            return self.base.certainty(nuclei)
        return nuclei.probabilities
