"""Two other ways to pre-train method A's network without labels, at the cost of a denoiser's training.

Masked image modelling (SimMIM, Xie et al., CVPR 2022): squares of the image are blanked out, and
the network says what was there. One pass through the whole network, as in denoising.

Dense contrast (VADeR, Pinheiro et al., NeurIPS 2020; DenseCL, Wang et al., CVPR 2021): two views
of a patch, moved, turned and stained apart, go through the network as far as the last block that
method A reads. Vectors of the same place are drawn together, those of other places apart. Two
passes through half of the network cost what one costs through all of it.

Both see what a denoiser sees at t = 0, an image with noise of a hundredth of its range, so their
features are read by the same extractor as a denoiser's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wsinuc.datasets.augmentation.augment import jitter_stain
from wsinuc.datasets.sampling.patches import PatchSource
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.networks.unet import UNet
from wsinuc.models.pixels import to_network
from wsinuc.orientation import dihedral
from wsinuc.workflows.denoiser.config import PretrainConfig
from wsinuc.workflows.training.run import Session
from wsinuc.workflows.training.step_loss import StepLoss

BLOCK = 12
"""The finest decoder block that method A reads; its pixels are two of the image wide."""
FACTOR = 2
MASK = 16
"""Side in pixels of the squares that are blanked out: about half of a nucleus."""
MASKED_SHARE = 0.6
MOVE = 32
"""Pixels by which the two views of a patch may be moved against each other."""
STAIN = 0.5
POINTS = 64
"""Places of each patch whose vectors are compared."""
NEAR = 16.0
"""Pixels within which another place of the same patch counts neither as the same nor as another."""
TEMPERATURE = 0.2


def slightly_noisy(process: GaussianDiffusion, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images ``(n, 3, h, w)`` as the network meets them at t = 0, and these timesteps."""
    t = torch.zeros(len(x0), dtype=torch.long)
    eps = torch.randn(x0.shape, generator=generator)
    return process.noise(x0, t, eps), t


class MaskedLoss(StepLoss[NDArray[np.uint8]]):
    """Mean absolute error of the pixels that were blanked out."""

    def __init__(self, network: nn.Module, config: PretrainConfig, source: PatchSource, session: Session) -> None:
        self.network = network
        self.process = GaussianDiffusion()
        self.source = source
        self.seed = config.seed
        super().__init__(config, session)

    def cut(self, part: int) -> NDArray[np.uint8]:
        return self.source.batch(part, self.size)

    def __call__(self, part: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + part)
        x0 = to_network(self.batch(part))
        masked = blanked_squares(x0.shape, generator)
        noisy, t = slightly_noisy(self.process, x0, generator)
        # Mid-grey, which is 0 to the network, says nothing of what was there.
        shown = torch.where(masked, 0.0, noisy)
        error = (self.network(shown, t) - x0).abs() * masked
        mean: Tensor = error.sum() / (3 * masked.sum())
        return mean

    def trial(self, count: int) -> Tensor:
        return self(0)


def blanked_squares(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """``(n, 1, h, w)``: True in a random share of the squares of a grid."""
    n, _, height, width = shape
    chance = torch.rand(n, 1, height // MASK, width // MASK, generator=generator)
    squares = (chance < MASKED_SHARE).float()
    return F.interpolate(squares, scale_factor=MASK, mode="nearest").bool()


class ProjectedUNet(nn.Module):
    """The network with a small head that turns a pixel's features into the vector that is compared."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet
        width = unet.config.decoder_channels[BLOCK]
        self.projection = nn.Sequential(nn.Conv2d(width, 128, 1), nn.ReLU(), nn.Conv2d(128, 64, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """``(n, 64, h / 2, w / 2)``."""
        (features,) = self.unet.activations(x, t, (BLOCK,))
        vectors: Tensor = self.projection(features)
        return vectors


@dataclass(frozen=True, slots=True, eq=False)
class ViewPair:
    """Two views of each of n patches, and places that both show."""

    first: NDArray[np.uint8]
    """``(n, size, size, 3)``."""
    second: NDArray[np.uint8]
    first_places: NDArray[np.int64]
    """``(n, POINTS, 2)`` (y, x) on the grid of `BLOCK`."""
    second_places: NDArray[np.int64]


class ContrastLoss(StepLoss[ViewPair]):
    """InfoNCE between vectors of the same place in two views."""

    def __init__(self, network: nn.Module, config: PretrainConfig, source: PatchSource, session: Session) -> None:
        self.network = network
        self.process = GaussianDiffusion()
        self.source = source
        self.seed = config.seed
        self.side = config.patch
        super().__init__(config, session)

    def cut(self, part: int) -> ViewPair:
        pairs = [self._pair(number) for number in self.numbers(part)]
        return ViewPair(*(np.stack(arrays) for arrays in zip(*pairs, strict=True)))

    def _pair(self, number: int) -> tuple[NDArray[Any], ...]:
        """One patch, which is `MOVE` px larger than a view, in two views."""
        patch = self.source.patch(number)
        rng = np.random.default_rng((self.seed, number, 1))
        corners = FACTOR * rng.integers(MOVE // FACTOR + 1, size=(2, 2))
        low = corners.max(axis=0)
        # What both views show begins at the later corner and ends one view after the earlier.
        shared = corners.min(axis=0) + self.side - low
        places = low + FACTOR * (rng.random((POINTS, 2)) * (shared // FACTOR)).astype(np.int64)
        turn = int(rng.integers(8))
        first = cut_view(patch, corners[0], self.side, rng)
        second = np.ascontiguousarray(dihedral(cut_view(patch, corners[1], self.side, rng), turn))
        cells = self.side // FACTOR
        turned = places_turned((places - corners[1]) // FACTOR, cells, turn)
        return first, second, (places - corners[0]) // FACTOR, turned

    def __call__(self, part: int) -> Tensor:
        pairs = self.batch(part)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + part)
        noisy, t = slightly_noisy(self.process, to_network(np.concatenate([pairs.first, pairs.second])), generator)
        first, second = self.network(noisy, t).float().chunk(2)
        return contrast(
            vectors_at(first, torch.from_numpy(pairs.first_places)),
            vectors_at(second, torch.from_numpy(pairs.second_places)),
            torch.from_numpy(pairs.first_places),
        )

    def trial(self, count: int) -> Tensor:
        return self(0)


def cut_view(
    patch: NDArray[np.uint8], corner: NDArray[np.int64], side: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A square of the patch, stained as another laboratory would."""
    y, x = corner
    return jitter_stain(patch[y : y + side, x : x + side], rng, STAIN)


def places_turned(places: NDArray[np.int64], cells: int, turn: int) -> NDArray[np.int64]:
    """Where places ``(k, 2)`` of a square of ``cells`` by ``cells`` lie once `dihedral` has turned it.

    Examples
    --------
    >>> square = np.arange(9).reshape(3, 3)
    >>> (y, x), = places_turned(np.array([[0, 1]]), 3, 6)
    >>> bool(dihedral(square, 6)[y, x] == square[0, 1])
    True
    """
    numbers = dihedral(np.arange(cells * cells).reshape(cells, cells), turn)
    where = np.empty(cells * cells, np.int64)
    where[numbers.ravel()] = np.arange(cells * cells)
    return np.stack(np.unravel_index(where[places[:, 0] * cells + places[:, 1]], (cells, cells)), axis=1)


def vectors_at(maps: Tensor, places: Tensor) -> Tensor:
    """Unit vectors ``(n, k, c)`` of maps ``(n, c, h, w)`` at places ``(n, k, 2)``."""
    width = maps.shape[-1]
    index = places[..., 0] * width + places[..., 1]
    flat = maps.flatten(2).transpose(1, 2)
    picked = torch.gather(flat, 1, index[..., None].expand(-1, -1, flat.shape[2]))
    return F.normalize(picked, dim=2)


def contrast(first: Tensor, second: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy of telling each vector's partner from the vectors of all other places.

    Parameters
    ----------
    first, second
        ``(n, k, c)`` unit vectors of the same places in two views.
    places
        ``(n, k, 2)`` on the grid of the features: other places nearby are left out of the comparison.
    """
    n, k, _ = first.shape
    likeness = first.flatten(0, 1) @ second.flatten(0, 1).T / TEMPERATURE
    distance = torch.cdist(FACTOR * places.float(), FACTOR * places.float())
    near = torch.block_diag(*(distance < NEAR))
    partner = torch.eye(n * k, dtype=torch.bool)
    likeness = likeness.masked_fill(near.bool() & ~partner, float("-inf"))
    return F.cross_entropy(likeness, torch.arange(n * k))
