"""What a model may be: asked before it is trained, and not when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsinuc.config import MPP_RANGE
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.header import check_readable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_model(network: DataclassInstance, mpp: float) -> None:
    """Raise ConfigError for a network's config or a resolution (um per pixel) that no model may have.

    Examples
    --------
    >>> from wsinuc.models.networks.unet import UNetConfig
    >>> check_model(UNetConfig(), 0.25)
    >>> check_model(UNetConfig(), 25)
    Traceback (most recent call last):
    ...
    wsinuc.errors.ConfigError: a model's mpp must lie between 0.05 and 2.0 um per pixel, got 25
    """
    low, high = MPP_RANGE
    if not low <= mpp <= high:
        raise ConfigError(f"a model's mpp must lie between {low} and {high} um per pixel, got {mpp:g}")
    check_readable(network)
