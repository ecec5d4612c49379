"""Networks that segment in one pass as segmenters: the fine-tuned denoiser (method D), HoVer-Net, U-Nets.

One network, so there is no disagreement to report: that channel is 0. What a network needs around a pixel decides the
margin; tiles lie so that its pooling falls on the same pixels of the slide in every tile.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.metrics.shape_odds import ShapeOdds
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import as_fp32, load_weights
from wsinuc.models.networks.by_name import build_network, default_tiling, stride_of
from wsinuc.models.networks.dense import DenseNetwork, DenseOutput
from wsinuc.models.networks.fusion import for_inference
from wsinuc.models.networks.norm import GroupNorm, fix_statistics, statistics_of, with_statistics
from wsinuc.models.pixels import to_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.base import Certainty, Classes, Margin, Tile, usual_mpp_range
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.segmenters.tiling import MAPS, check_separation, check_tiling
from wsinuc.separation.joining import Joining
from wsinuc.separation.settings import WatershedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Everything about a trained network that is no weight; stored in its checkpoint."""

    method: str
    """``finetune``, ``hovernet``, ``unet`` or ``attention-unet``."""
    network: dict[str, Any]
    """Shape of the network; see `wsinuc.models.networks.by_name.build_network`."""
    watershed: WatershedSettings
    separation: str
    """``distance`` or ``hv``."""
    classes: Classes
    tile: Tile
    """Side of a network input in pixels."""
    margin: Margin
    """Pixels of a tile's border whose scores are dropped, because they lack context."""
    mpp_range: tuple[Mpp, Mpp]
    """um per pixel of the slides it accepts, finest and coarsest."""
    certainty: Certainty = (1.0, 0.0)
    """Slope and offset that `wsinuc.metrics.calibration.fit_certainty` found; (1, 0) was not measured."""
    shape_odds: ShapeOdds | None = None
    """What outlines add to the log-odds of their pixels before that line; None is nothing."""
    joining: Joining | None = None
    """How fragments of nuclei are joined (separation ``distance``); None cuts at `WatershedSettings.marker_height`."""

    def __post_init__(self) -> None:
        check_separation(self.separation)
        check_tiling(self.tile, self.margin, self.mpp_range, self.classes)

    @classmethod
    def describe(
        cls, method: str, network: dict[str, Any], *, mpp: float, separation: str, classes: tuple[NucleusClass, ...]
    ) -> NetworkConfig:
        """The config of a new network, with the usual tiles and post-processing."""
        tile, margin = default_tiling(method, network)
        return cls(
            method=method,
            network=network,
            watershed=WatershedSettings(mpp=mpp),
            separation=separation,
            classes=classes,
            tile=tile,
            margin=margin,
            mpp_range=usual_mpp_range(mpp),
        )


class NetworkSegmenter(TiledSegmenter):
    """Pixels to scores to instances with one network; see :class:`wsinuc.segmenters.base.Segmenter`.

    Parameters
    ----------
    network
        What ``build_network`` makes of the config, with its weights.
    device
        Where the network runs.
    dtype
        Of weights and activations; batch normalisation that no convolution takes over stays fp32.
    """

    config: NetworkConfig

    def __init__(
        self,
        config: NetworkConfig,
        network: DenseNetwork,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        weights_sha256: str = "",
    ) -> None:
        self.config = config
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = weights_sha256
        self.network = for_inference(network, device=device, dtype=dtype)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> NetworkSegmenter:
        """A segmenter from a checkpoint of kind ``segmenter`` and one of this module's methods;
        raises CheckpointError."""
        config = from_header(NetworkConfig, checkpoint.config)
        network = load_weights(partial(build_network, config.method, config.network), as_fp32(checkpoint.tensors))
        _check_shape(config)
        return cls(config, network, device=device, dtype=dtype, weights_sha256=checkpoint.sha256)

    @property
    def grain(self) -> int:
        """What the network pools."""
        return stride_of(self.config.method, self.config.network)

    def calibrate(self, samples: NDArray[np.uint8]) -> NetworkSegmenter:
        """A copy whose group normalisation has the statistics of these samples; itself where there is none."""
        # Batch normalisation keeps the statistics of the training and fits to nothing.
        if not any(isinstance(module, GroupNorm) for module in self.network.modules()):
            return self
        fitted = copy.copy(self)
        # Deep, because statistics are written into the norms; other slides may share this network.
        fitted.network = copy.deepcopy(self.network)
        with torch.inference_mode():
            fix_statistics(fitted.network, lambda: fitted.network(self._input(samples)))
        return fitted

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """What ``calibrate`` has measured, by layer."""
        return statistics_of(self.network)

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> NetworkSegmenter:
        """A copy on the same weights with the statistics of a calibrated one."""
        fitted = copy.copy(self)
        fitted.network = with_statistics(self.network, statistics)
        return fitted

    def _input(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        return to_network(pixels, self.device).to(self.dtype)

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``."""
        # In fp32 from here on, so that levels of 1 / 255 are decided alike on every device.
        scores = self._probabilities(self.network.inner(self._input(pixels), self.margin).float())
        return scores.clamp_(0, 1).mul_(255).round_().to(torch.uint8).cpu().numpy()

    def _probabilities(self, raw: DenseOutput) -> torch.Tensor:
        """Raw outputs as channels in [0, 1]; H and V, in [-1, 1], are moved there first."""
        classes = raw.classes.softmax(1)
        if raw.nuclei is None:
            foreground = 1 - classes[:, :1]
        else:
            foreground = raw.nuclei.softmax(1)[:, 1:]
        if self.config.separation == "hv":
            maps = raw.maps / 2 + 0.5
        else:
            maps = raw.maps
        # One network has nobody to disagree with: that channel is 0.
        return torch.cat([foreground, torch.zeros_like(foreground), classes[:, 1:], maps], 1)


def _check_shape(config: NetworkConfig) -> None:
    """Raise ConfigError where a network gives other channels than are read, or cannot take the tiles."""
    expected = (len(config.classes) + 1, MAPS[config.separation])
    given = (config.network["classes"], config.network["maps"])
    if given != expected:
        raise ConfigError(
            f"the network's classes and maps must be {expected}, as the header's classes need, got {given}"
        )
    stride = stride_of(config.method, config.network)
    if config.tile % stride:
        raise ConfigError(f"tile must be a multiple of {stride}, what the network pools, got {config.tile}")


def network_checkpoint(
    config: NetworkConfig, weights: dict[str, torch.Tensor], provenance: dict[str, Any]
) -> Checkpoint:
    """Config and trained weights as a checkpoint of kind ``segmenter``.

    Matrices and kernels become fp16. Vectors (biases, and the statistics of norms) stay exact: they are few,
    and a variance may lie beyond what fp16 holds.
    """
    tensors = {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}
    return Checkpoint(kind="segmenter", config=asdict(config), provenance=provenance, tensors=tensors)
