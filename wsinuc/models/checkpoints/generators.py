"""The two networks of method B by what their checkpoints say.

A checkpoint of kind ``nudiff-structure`` or ``nudiff-image`` has the config ``{"network": {...},
"betas": schedule, "steps": T, "mpp": um per pixel, "size": side of its training patches in pixels,
"classes": [{"name", "color"}], "smallest_px": see `wsinuc.synthesis.structures`,
"learned_variance": bool, "levels": see `wsinuc.models.diffusion.mean_levels`}``. That of a
structure model also has ``"smallest_um2"``, below which a nucleus is a fragment, that of an image
model ``"drop_rate"``: how often its condition was left out in the last phase of its training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta
from torch import Tensor, nn

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import load_weights
from wsinuc.models.diffusion.gaussian import Denoiser, GaussianDiffusion
from wsinuc.models.diffusion.guidance import guided
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.schedules import SCHEDULES, named_betas
from wsinuc.models.networks.spade_unet import SpadeUNet, SpadeUNetConfig
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.nuclei.classes import NucleusClass

STRUCTURE = "nudiff-structure"
IMAGE = "nudiff-image"
_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorHeader:
    """What the header of either network says."""

    network: dict[str, Any]
    betas: str
    steps: Annotated[int, Meta(ge=1, le=100_000)]
    mpp: Mpp
    size: Annotated[int, Meta(ge=1, le=8192)]
    classes: Annotated[tuple[NucleusClass, ...], Meta(max_length=64)]
    smallest_px: Annotated[int, Meta(ge=0, le=1_000_000)]
    smallest_um2: Annotated[float, Meta(ge=0, le=1e5)] = 0
    learned_variance: bool = False
    levels: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.betas not in SCHEDULES:
            raise ConfigError(f"betas must be one of {', '.join(SCHEDULES)}, got {self.betas!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader(GeneratorHeader):
    """What that of an image model says besides."""

    drop_rate: Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, slots=True, eq=False)
class StructureModel:
    """What generates structures from noise."""

    network: UNet
    """In evaluation mode, on the CPU; ``(x, t)`` of structures as `wsinuc.synthesis.structures.to_diffusion` has them.
    """
    process: GaussianDiffusion
    config: dict[str, Any]
    """The checkpoint's."""

    @property
    def levels(self) -> MeanLevels:
        """Mean levels of the training's structures."""
        return MeanLevels.from_header(self.config.get("levels", {}))

    @property
    def smallest_um2(self) -> float:
        """Area below which a generated nucleus is a fragment; 0 for checkpoints that do not say."""
        return float(self.config.get("smallest_um2", 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class ImageModel:
    """What generates images for structures."""

    network: SpadeUNet
    """In evaluation mode, on the CPU; ``(x, t, condition)`` of images in [-1, 1] and structures."""
    process: GaussianDiffusion
    config: dict[str, Any]
    """The checkpoint's."""

    @property
    def levels(self) -> MeanLevels:
        """Mean levels of the training's images."""
        return MeanLevels.from_header(self.config.get("levels", {}))

    def denoiser(self, condition: Tensor, guidance: float = 0.0) -> Denoiser:
        """The network with structures ``(n, 3, h, w)`` put in, guided with the paper's w; see
        `wsinuc.models.diffusion.guidance`.

        Raises
        ------
        ConfigError
            Guidance of a network that never saw an image without its structure.
        """
        if guidance != 0 and not self.config["drop_rate"]:
            raise ConfigError(
                f"guidance {guidance:g} needs a network that also knows images without a structure, but this one was "
                "trained with drop rate 0: use guidance 0, or finish its training's second phase"
            )
        return guided(self.network, condition, guidance)


def load_structure_model(path: Path) -> StructureModel:
    """Read a checkpoint of kind ``nudiff-structure``; raises CheckpointError."""
    checkpoint = load_checkpoint(path, STRUCTURE)
    network = _network(UNet, UNetConfig, checkpoint)
    return StructureModel(network, _process(checkpoint, path), checkpoint.config)


def load_image_model(path: Path) -> ImageModel:
    """Read a checkpoint of kind ``nudiff-image``; raises CheckpointError."""
    checkpoint = load_checkpoint(path, IMAGE)
    network = _network(SpadeUNet, SpadeUNetConfig, checkpoint)
    return ImageModel(network, _process(checkpoint, path), checkpoint.config)


def adopt(network: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    """Take over every tensor whose name and shape fit; how many of the network's own were replaced.

    A denoiser of the same width gives its encoder, time embedding and most convolutions to any generator of these.

    Raises
    ------
    CheckpointError
        The first convolution does not fit, so the network has another width and what else fits does so by accident.
    """
    # By name and shape, because the two networks differ in their norms and in what they put out.
    own = network.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    if "stem.weight" not in fitting:
        given = "none"
        if "stem.weight" in tensors:
            given = str(tuple(tensors["stem.weight"].shape))
        raise CheckpointError(
            "no weights to start from: the network's first convolution is "
            f"{tuple(own['stem.weight'].shape)}, the given one "
            f"{given}; take a checkpoint of the same kind and base width, or set the base width to its"
        )
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


def _network(build: Callable[[Any], _Network], shape: type, checkpoint: Checkpoint) -> _Network:
    config: Any = from_header(shape, checkpoint.config["network"])
    return load_weights(partial(build, config), checkpoint.tensors).eval()


def _process(checkpoint: Checkpoint, path: Path) -> GaussianDiffusion:
    try:
        return GaussianDiffusion(named_betas(checkpoint.config["betas"], int(checkpoint.config["steps"])))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the noise in the header of {path} is not understood: {error}") from error
