"""Colours of a slide brought towards those that a network was trained on.

Laboratories differ in dyes, thickness and scanner. Training imitates that, and still a network is
surest of the colours that it has seen most. So the optical densities of a slide are moved and
stretched, channel by channel, until their mean and spread over its tissue lie nearer to those of
the training images (Reinhard et al. 2001, with densities in place of l-alpha-beta). The whole way
would be too far: a slide of lymph nodes is bluer than one of fat for good reasons.

In pixels this is a gain and a gamma for each channel, so it is a table of 256 entries, found once
per slide: what a pixel becomes depends on its own value alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from wsinuc.errors import ConfigError

Density = Annotated[float, Meta(ge=0, le=10)]
Triple = tuple[Density, Density, Density]

_GLASS = 0.05
"""Mean optical density below which a pixel is glass; how much glass a sample shows says nothing of the dyes."""
_FEWEST = 100_000
"""Pixels of tissue without which colours are left as they are: what a few dozen cells look like
says more of their kind than of the dyes. (With fewer, classes of nuclei learnt from images of 57 um
came out worse: balanced accuracy 0.61 for 0.65.)"""
_MOST = 2.0
"""Largest stretch or squeeze: a nearly uniform sample must not have its noise blown up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourNormalisation:
    """Where colours are brought to, and how far."""

    mean: Triple
    """Mean optical densities (natural logarithm) of the training images in red, green and blue."""
    spread: Triple
    """Their standard deviations."""
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the way that a slide's mean goes, 0 to 1; its spread goes by that share of the ratio's logarithm."""

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.spread) != 3 or min(self.spread) <= 0:
            raise ConfigError(f"colours have three means and three positive spreads, got {self.mean} and {self.spread}")
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"the share of the way must lie in [0, 1], got {self.share}")

    @classmethod
    def towards(cls, images: list[NDArray[np.uint8]], share: float = 0.5) -> ColourNormalisation:
        """Towards the colours of training images, each ``(h, w, 3)`` counting alike."""
        pairs = [pair for pair in map(moments, images) if pair is not None]
        mean = np.mean([mean for mean, _ in pairs], axis=0)
        spread = np.mean([spread for _, spread in pairs], axis=0)
        return cls(mean=_triple(mean), spread=_triple(spread), share=share)

    def table(self, samples: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """What every value of each channel becomes, whole numbers ``(256, 3)``.

        Parameters
        ----------
        samples
            RGB ``(..., 3)`` of a slide's tissue.

        Returns
        -------
        None where there is too little tissue to tell.
        """
        measured = moments(samples)
        if measured is None:
            return None
        mean, spread = measured
        # The share of a ratio is taken of its logarithm, so that stretching and squeezing are alike.
        stretch = np.clip((np.array(self.spread) / spread) ** self.share, 1 / _MOST, _MOST)
        to = mean + self.share * (np.array(self.mean) - mean)
        moved = (_density(np.arange(256)[:, None]) - mean) * stretch + to
        # Back to grey levels: the inverse of `_density`. float32 holds them exactly, as statistics are kept.
        table: NDArray[np.float32] = np.rint(np.clip(np.exp(-moved) * 256 - 1, 0, 255)).astype(np.float32)
        return table


def recoloured(pixels: NDArray[np.uint8], table: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """Pixels ``(..., 3)`` through a table ``(256, 3)``; themselves where there is none."""
    if table is None:
        return pixels
    whole = table.astype(np.uint8)
    return np.stack([whole[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def _triple(values: NDArray[np.float64]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def _density(values: NDArray[np.integer]) -> NDArray[np.float64]:
    """Optical density of grey levels; that of 0 is finite."""
    density: NDArray[np.float64] = -np.log((values + 1.0) / 256.0)
    return density


def moments(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and standard deviation ``(3,)`` of the densities of tissue; None where there is hardly
    any, or it has one colour."""
    # A table of 256 logarithms for millions of pixels.
    density = _density(np.arange(256))[pixels.reshape(-1, 3)]
    tissue = density[density.mean(1) >= _GLASS]
    if len(tissue) < _FEWEST or tissue.std(0).min() < 1e-3:
        return None
    return tissue.mean(0), tissue.std(0)
