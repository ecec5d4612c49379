"""Method A as a segmenter: diffusion features, pixel-classifier ensemble, watershed."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.metrics.shape_odds import ShapeOdds
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import load_weights
from wsinuc.models.devices import on_device
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.schedules import SCHEDULES, named_betas
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble, Votes
from wsinuc.models.features.extractor import NOISE_PERIOD, FeatureConfig, FeatureExtractor
from wsinuc.models.features.views import MOST, View, merged, views
from wsinuc.models.networks.norm import fix_statistics, statistics_of, with_statistics
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.pixels import to_network
from wsinuc.segmenters.base import Certainty, Classes, Margin, Tile
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.segmenters.tiling import MAPS, check_separation, check_tiling
from wsinuc.separation.joining import Joining
from wsinuc.separation.settings import WatershedSettings
from wsinuc.typed_json import one_line

VOTES = ("mean", "majority")


@dataclass(frozen=True, slots=True, kw_only=True)
class DdpmConfig:
    """Everything about a trained segmenter that is no weight; stored in its checkpoint."""

    unet: UNetConfig
    features: FeatureConfig
    ensemble: EnsembleConfig
    watershed: WatershedSettings
    separation: str
    """``distance`` or ``hv``."""
    classes: Classes
    betas: str = "linear"
    """Noise schedule that the denoiser was trained with."""
    tile: Tile = 512
    """Side of a network input in pixels. Large tiles waste less margin."""
    margin: Margin = 32
    """Pixels of a tile's border whose scores are dropped, because they lack context."""
    mpp_range: tuple[Mpp, Mpp] | None = None
    """um per pixel of the slides it accepts, finest and coarsest; None is the usual range."""
    vote: str = "mean"
    """``mean`` of the members' probabilities, or the ``majority`` of their verdicts, as published."""
    views: int = 1
    """In how many ways every tile is seen (`wsinuc.models.features.views`); scores are means over them."""
    certainty: Certainty = (1.0, 0.0)
    """Slope and offset that `wsinuc.metrics.calibration.fit_certainty` found; (1, 0) was not measured."""
    shape_odds: ShapeOdds | None = None
    """What outlines add to the log-odds of their pixels before that line; None is nothing."""
    joining: Joining | None = None
    """How fragments of nuclei are joined (separation ``distance``); None cuts at `WatershedSettings.marker_height`."""

    def __post_init__(self) -> None:
        check_separation(self.separation)
        if self.vote not in VOTES:
            raise ConfigError(f"vote must be one of {', '.join(VOTES)}, got {self.vote!r}")
        check_tiling(self.tile, self.margin, self.mpp_range, self.classes)
        if self.betas not in SCHEDULES:
            raise ConfigError(f"betas must be one of {', '.join(SCHEDULES)}, got {self.betas!r}")
        if self.tile % self.unet.stride or (self.views > 1 and self.margin < self.unet.stride):
            raise ConfigError(
                f"tile must be a multiple of {self.unet.stride}, what the denoiser pools, and the margin at "
                "least that where "
                f"tiles are seen in several ways; got {self.tile} and {self.margin}"
            )
        if not 1 <= self.views <= MOST:
            raise ConfigError(f"a tile is seen in 1 to {MOST} ways, got {self.views}")
        if (self.tile - 2 * self.margin) % NOISE_PERIOD:
            raise ConfigError(
                f"tile - 2 * margin must be a multiple of {NOISE_PERIOD}, so that every tile sees the same noise; "
                f"got {self.tile} and {self.margin}"
            )
        if self.ensemble.classes != len(self.classes) + 1 or self.ensemble.maps != MAPS[self.separation]:
            raise ConfigError("the ensemble's outputs do not match the classes or the way of separation")


class DdpmSegmenter(TiledSegmenter):
    """Pixels to scores to instances with a frozen denoiser and an ensemble; see
    :class:`wsinuc.segmenters.base.Segmenter`.

    Parameters
    ----------
    device
        Where the networks run.
    dtype
        Of weights and activations. bf16 is about twice as fast where the hardware has it; scores differ in the last of
        their 256 levels.
    """

    config: DdpmConfig

    def __init__(
        self,
        config: DdpmConfig,
        unet: UNet,
        ensemble: PixelClassifierEnsemble,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        weights_sha256: str = "",
    ) -> None:
        self.config = config
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = weights_sha256
        network = on_device(unet, device, dtype)
        self.extractor = FeatureExtractor(network, GaussianDiffusion(named_betas(config.betas)), config.features)
        self.ensemble = ensemble.to(device).eval().requires_grad_(False)
        channels = tuple(self.extractor.channels.items())
        if channels != config.ensemble.channels:
            raise ConfigError(f"the ensemble reads features {config.ensemble.channels}, the denoiser gives {channels}")

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> DdpmSegmenter:
        """A segmenter from a checkpoint of kind ``segmenter``."""
        config = from_header(DdpmConfig, {name: value for name, value in checkpoint.config.items() if name != "method"})
        parts: dict[str, dict[str, torch.Tensor]] = {"denoiser": {}, "ensemble": {}}
        for name, tensor in checkpoint.tensors.items():
            part, _, inner = name.partition(".")
            # fp16 is for the disk alone.
            parts.setdefault(part, {})[inner] = tensor.float()
        unknown = parts.keys() - {"denoiser", "ensemble"}
        if unknown:
            raise CheckpointError(
                f"the weights do not fit their own header: {one_line(unknown.pop())} belongs to nothing"
            )
        unet = load_weights(partial(UNet, config.unet), parts["denoiser"])
        ensemble = load_weights(partial(PixelClassifierEnsemble, config.ensemble), parts["ensemble"])
        return cls(config, unet, ensemble, device=device, dtype=dtype, weights_sha256=checkpoint.sha256)

    def to_checkpoint(self, provenance: dict[str, Any], dtype: torch.dtype = torch.float16) -> Checkpoint:
        """Weights and config as one checkpoint of kind ``segmenter``; ``dtype`` is that of the denoiser on disk."""
        unet = {f"denoiser.{k}": v.to(dtype) for k, v in self.extractor.unet.state_dict().items()}
        # The ensemble is small, and stays exact.
        ensemble = {f"ensemble.{k}": v.float() for k, v in self.ensemble.state_dict().items()}
        return Checkpoint(kind="segmenter", config=asdict(self.config), provenance=provenance, tensors=unet | ensemble)

    @property
    def grain(self) -> int:
        """The period of the noise: the side that is kept must be a multiple, so that every tile sees the same."""
        return NOISE_PERIOD

    def calibrate(self, samples: NDArray[np.uint8]) -> DdpmSegmenter:
        """A copy whose normalisation has the statistics of these samples of a slide instead of each tile's own."""
        fitted = copy.copy(self)
        # A copy of the network, because statistics live in its norms and this segmenter must stay as it is.
        fitted.extractor = FeatureExtractor(
            copy.deepcopy(self.extractor.unet), self.extractor.process, self.config.features
        )
        fix_statistics(fitted.extractor.unet, lambda: fitted.extractor(self._input(samples)))
        return fitted

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """What ``calibrate`` has measured, by layer."""
        return statistics_of(self.extractor.unet)

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> DdpmSegmenter:
        """A copy on the same weights with the statistics of a calibrated one."""
        fitted = copy.copy(self)
        unet = with_statistics(self.extractor.unet, statistics)
        fitted.extractor = FeatureExtractor(unet, self.extractor.process, self.config.features)
        return fitted

    def _input(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        return to_network(pixels, self.device)

    @torch.inference_mode()
    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``."""
        x = self._input(pixels)
        if self.config.views == 1:
            votes = self.ensemble.vote(self.extractor(x), margin=self.margin)
        else:
            stride = self.config.unet.stride
            # H and V change their meaning when the tile is turned, a distance does not.
            ways = views(self.config.views, stride, turned=self.config.separation == "distance")
            votes = merged([self._votes(x, view, stride) for view in ways])
        return self._quantised(votes).cpu().numpy()

    def _votes(self, x: torch.Tensor, view: View, extra: int) -> Votes:
        """The verdict on one view of the tiles, turned back; ``extra`` pixels make room for its move."""
        # Less is cropped here, because moving the view back takes pixels from its rim.
        votes = self.ensemble.vote(self.extractor(view.of(x)), margin=self.margin - extra)
        return Votes(*(view.back(getattr(votes, part.name), extra) for part in fields(votes)))

    def _quantised(self, votes: Votes) -> torch.Tensor:
        """Votes as uint8 channels; maps in [-1, 1] (H, V) are moved to [0, 1] first."""
        if self.config.separation == "hv":
            maps = votes.maps / 2 + 0.5
        else:
            maps = votes.maps
        if self.config.vote == "mean":
            p = votes.probabilities
        else:
            p = majority_probabilities(votes)
        stack = [1 - p[:, :1], votes.disagreement[:, None], p[:, 1:], maps]
        return (torch.cat(stack, dim=1).clamp(0, 1) * 255).round().to(torch.uint8)


def majority_probabilities(votes: Votes) -> torch.Tensor:
    """The members' ballots as probabilities ``(n, classes, h, w)`` that give every pixel the class of the majority.

    Background and nucleus are on the majority's side of one half, even where the other classes together have more
    ballots than background, or where the vote is tied; the classes share what is left as they share the ballots.
    """
    background = votes.ballots[:, :1]
    rest = votes.ballots[:, 1:]
    outside = (votes.majority == 0)[:, None]
    # Just beyond one half, which is where the watershed's foreground begins by default.
    settled = torch.where(outside, background.clamp_min(0.51), background.clamp_max(0.49))
    return torch.cat([settled, rest * (1 - settled) / rest.sum(1, keepdim=True).clamp_min(1e-6)], dim=1)
