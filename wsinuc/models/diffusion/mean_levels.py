"""What the mean of a noisy image says about the mean of the clean one.

At high noise a network must tell the mean level of each channel from ``x_t`` to a small part of a
grey level, because ``predict_x0`` multiplies its error by ``sqrt(1 - abar) / sqrt(abar)``, 150 at
the end of a linear schedule. A network that was trained for hours, not for weeks, cannot, and its
samples drift to colours that no training image has. Yet the answer needs no network: the noise of N
pixels nearly cancels in their mean ``y``, so with mean levels distributed as N(m, C)

    y = sqrt(abar) mu + sqrt((1 - abar) / N) z,    E[mu | y] = m + K (y - sqrt(abar) m),
    K = sqrt(abar) C (abar C + (1 - abar) / N I)^-1.

The published methods have no such step; their networks are larger and trained longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsinuc.errors import CheckpointError, DataError
from wsinuc.typed_json import from_json

_LARGEST = 100
"""Largest number that a header may hold; levels lie in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class MeanLevels:
    """How the means over the pixels of training images are distributed."""

    mean: tuple[float, ...]
    """Mean level of each channel, in [-1, 1]."""
    covariance: tuple[tuple[float, ...], ...]
    """Covariance of the levels between channels."""

    @classmethod
    def of(cls, images: Tensor) -> MeanLevels:
        """Mean levels of images ``(n, c, h, w)`` in [-1, 1], n at least 2; raises DataError for fewer."""
        if len(images) < 2:
            raise DataError(f"mean levels need at least 2 images, got {len(images)}")
        means = images.double().mean((2, 3))
        channels = means.shape[1]
        covariance = torch.cov(means.T).reshape(channels, channels)
        return cls(tuple(means.mean(0).tolist()), tuple(map(tuple, covariance.tolist())))

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> MeanLevels:
        """Mean levels as a checkpoint's header has them; raises CheckpointError where they are damaged."""
        levels = from_json(cls, header, error=CheckpointError, subject="the checkpoint's mean levels are damaged")
        numbers = [*levels.mean, *(value for row in levels.covariance for value in row)]
        if {len(row) for row in levels.covariance} | {len(levels.covariance)} != {len(levels.mean)}:
            raise CheckpointError("the checkpoint's mean levels are damaged: one row of the covariance for each mean")
        if not numbers or not all(abs(value) <= _LARGEST for value in numbers):
            raise CheckpointError(
                f"the checkpoint's mean levels are damaged: numbers lie between -{_LARGEST} and {_LARGEST}"
            )
        return levels

    def header(self) -> dict[str, Any]:
        """JSON types for a checkpoint's header."""
        return {"mean": list(self.mean), "covariance": [list(row) for row in self.covariance]}

    def corrected(self, x0: Tensor, x: Tensor, alpha_bar: float) -> Tensor:
        """A predicted clean image ``(n, c, h, w)``, moved so that each channel has the mean expected from ``x_t``."""
        # A few numbers, in float64 on the CPU: Apple's GPUs have no float64.
        mean = torch.tensor(self.mean, dtype=torch.float64)
        covariance = torch.tensor(self.covariance, dtype=torch.float64)
        noise = (1 - alpha_bar) / (x.shape[2] * x.shape[3]) * torch.eye(len(mean), dtype=torch.float64)
        # The pseudo-inverse: channels that never vary on their own have a singular covariance.
        gain = alpha_bar**0.5 * covariance @ torch.linalg.pinv(alpha_bar * covariance + noise)
        surprise = _channel_means(x) - alpha_bar**0.5 * mean
        expected: Tensor = mean + surprise @ gain.T
        shift = expected - _channel_means(x0)
        return x0 + shift[:, :, None, None].to(x0)


def _channel_means(images: Tensor) -> Tensor:
    """Mean of each channel of images ``(n, c, h, w)``, float64 ``(n, c)`` on the CPU."""
    return images.mean((2, 3)).cpu().double()
