"""What networks see in whole images: one vector per image, for distances between sets of images.

Two networks. The denoiser needs no further file and knows histology; its distances are no FID as papers report it, so
its name says what it is. The Inception network of the FID papers is read from a file that the user has; it also gives
class probabilities, which the inception score needs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.denoisers import load_denoiser
from wsinuc.models.checkpoints.file_header import file_sha256, read_header
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.devices import on_device
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet
from wsinuc.models.pixels import to_network

BATCH = 16
"""Images per step of a network."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """What a network says of n images."""

    vectors: NDArray[np.float32]
    """(n, width)."""
    probabilities: NDArray[np.float32] | None = None
    """(n, classes), rows sum to 1; None from networks that do not classify."""


class FeatureNetwork(Protocol):
    """Images to vectors, the same for the same image whatever the batch."""

    @property
    def name(self) -> str:
        """Which weights, for reports: no figure stands without it."""
        ...

    @property
    def description(self) -> str:
        """What the vectors are, in one line."""
        ...

    @property
    def width(self) -> int:
        """Length of a vector."""
        ...

    @property
    def mpp(self) -> float | None:
        """um per pixel that it was trained at; None where that has no meaning."""
        ...

    def __call__(self, images: NDArray[np.uint8]) -> ImageFeatures:
        """Features of RGB images ``(n, h, w, 3)``, n may be 0."""
        ...


class DenoiserNetwork:
    """Means over the image of a denoiser's activations in chosen decoder blocks.

    Parameters
    ----------
    sha256
        Of the file that the weights come from.
    mpp
        um per pixel that it was trained at.
    timestep
        How much noise the images get; it is the same noise for every image.
    blocks
        Decoder blocks, numbered from the deepest, whose activations see the most of the image and cost the least.
    """

    def __init__(
        self,
        unet: UNet,
        process: GaussianDiffusion,
        *,
        sha256: str,
        mpp: float | None = None,
        timestep: int = 50,
        blocks: tuple[int, ...] = (0,),
        device: torch.device | str = "cpu",
    ) -> None:
        config = FeatureConfig(timesteps=(timestep,), blocks=blocks)
        self._extract = FeatureExtractor(on_device(unet, device, torch.float32), process, config)
        self._device = torch.device(device)
        self._stride = unet.config.stride
        self.width = sum(self._extract.channels.values())
        self.mpp = mpp
        self.name = f"denoiser:{sha256[:12]}"
        listed = " and ".join(map(str, blocks))
        self.description = (
            f"means over decoder block {listed} of a denoiser at timestep {timestep}; "
            "no Inception network, so distances compare with each other and not with published FIDs"
        )

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> ImageFeatures:
        """Vectors of RGB images ``(n, h, w, 3)``; raises ConfigError for sides that the network
        cannot halve often enough."""
        if images.shape[1] % self._stride or images.shape[2] % self._stride:
            raise ConfigError(
                f"{self.name} takes images whose sides are multiples of {self._stride} px, got {images.shape[2]} x "
                f"{images.shape[1]}: choose another size of patches (--patch)"
            )
        rows = [self._vectors(images[i : i + BATCH]) for i in _starts(images)]
        # Without an image there is nothing to concatenate, and yet a width.
        return ImageFeatures(np.concatenate([np.zeros((0, self.width), np.float32), *rows]))

    def _vectors(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = to_network(images, self._device)
        maps = self._extract(x)
        return torch.cat([each.float().mean(dim=(2, 3)) for each in maps.values()], dim=1).cpu().numpy()


class InceptionNetwork:
    """The Inception v3 of the FID papers (weights of 2015-12-05), by torch-fidelity.

    Images are resized to 299 x 299 as TensorFlow 1 did it (bilinear, no anti-aliasing), which is what published figures
    were computed with. Features are the 2048 of the last pooling; probabilities are the softmax of the logits without
    their bias, as the published score has it.
    """

    width = 2048
    mpp: float | None = None

    def __init__(self, extractor: nn.Module, *, sha256: str, device: torch.device | str = "cpu") -> None:
        self._extractor = extractor.to(device)
        self._device = device
        self.name = f"inception:{sha256[:12]}"
        self.description = "FID's Inception v3, last pooling; images resized to 299 px as TensorFlow 1 did"

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> ImageFeatures:
        """Vectors and class probabilities of RGB images ``(n, h, w, 3)``."""
        rows = [self._extractor(_channels_first(images[i : i + BATCH]).to(self._device)) for i in _starts(images)]
        if not rows:
            # 1008 outputs: ImageNet's 1000 classes and those that the published network never used.
            return ImageFeatures(np.zeros((0, self.width), np.float32), np.zeros((0, 1008), np.float32))
        vectors, logits = (torch.cat(part) for part in zip(*rows, strict=True))
        return ImageFeatures(vectors.float().cpu().numpy(), logits.float().softmax(dim=1).cpu().numpy())


def load_feature_network(path: Path, *, device: torch.device | str = "cpu") -> DenoiserNetwork | InceptionNetwork:
    """The network in a file: a checkpoint of wsinuc that holds a U-Net denoiser, or FID's Inception weights.

    Parameters
    ----------
    path
        Checkpoint of kind ``denoiser``, or of kind ``segmenter`` by method A; or the Inception's
        weights under their public names (``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid
        and torch-fidelity), as .safetensors or .pth.

    Raises
    ------
    CheckpointError
        The file is missing, is neither, is damaged, or holds more than tensors.
    ConfigError
        torch-fidelity, which runs the Inception, is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"no feature network at {path}: check the path")
    kind = _wsinuc_kind(path)
    if kind is not None:
        return _load_denoiser_network(path, kind, device)
    return InceptionNetwork(_build_inception(_read_weights(path), path), sha256=file_sha256(path), device=device)


def _load_denoiser_network(path: Path, kind: str, device: torch.device | str) -> DenoiserNetwork:
    if kind not in ("denoiser", "segmenter"):
        raise CheckpointError(f"{path} holds a {kind} without a denoiser to take features from: give a denoiser")
    checkpoint = load_denoiser_checkpoint(path)
    network, process = load_denoiser(checkpoint)
    if not isinstance(network, UNet):
        raise CheckpointError(f"{path} holds a {type(network).__name__}; features are taken from a UNet denoiser only")
    return DenoiserNetwork(network, process, sha256=checkpoint.sha256, mpp=checkpoint.config["mpp"], device=device)


def _wsinuc_kind(path: Path) -> str | None:
    """Kind of a checkpoint of wsinuc; None for every other file."""
    try:
        header = read_header(path)
    except CheckpointError:
        return None
    if header is None:
        return None
    return header.kind


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors and nothing else, so that a file cannot run code."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as archive:
                return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (no mapping)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler makes of a strange file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise CheckpointError(
            f"{path} is no file of weights alone ({reason}): expected a checkpoint of wsinuc, or FID's "
            "Inception weights (pt_inception-2015-12-05-6726825d.pth) as .pth or .safetensors; "
            "TorchScript is not read, it can run code"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds more than named tensors: expected the state dict of FID's Inception")
    return content


def _build_inception(weights: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except Exception as error:  # a torchvision that was built for another PyTorch raises RuntimeError
        raise ConfigError(
            f"the Inception network needs torch-fidelity, which cannot be imported here ({str(error)[:80]}): "
            "pip install 'wsinuc[fid]', with the torchvision that fits your PyTorch; or leave out --features"
        ) from error
    # torch-fidelity unpickles the file it is given, so it is given one made here of tensors that were read safely.
    safe = io.BytesIO()
    torch.save(weights, safe)
    safe.seek(0)
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
        )
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[-1].strip()[:120]
        raise CheckpointError(
            f"{path} holds the weights of another network than FID's Inception v3 ({reason}): "
            "torchvision's inception_v3 is a different one"
        ) from error
    frozen: nn.Module = network.eval().requires_grad_(False)
    return frozen


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _starts(images: NDArray[np.uint8]) -> range:
    return range(0, len(images), BATCH)
