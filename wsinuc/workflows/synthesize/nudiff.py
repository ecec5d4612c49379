"""Samples of method B (Yu et al. 2023): a structure of nuclei from noise, then an image for it.

Structure and labels have to say the same, or a segmenter trained on them learns the difference. So
the labels are separated from the generated structure, and the image is made for the structure *of
these labels*: touching nuclei have the sharp border that the image network knows from real labels,
and specks that are no nucleus vanish. ``condition="raw"`` gives the image network the generated
structure itself, as the paper does: nucleus or not as 1 or 0, H and V as they are (there rounded to 8
bit).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.datasets.base import Dataset
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.checkpoints.generators import ImageModel, StructureModel, load_image_model, load_structure_model
from wsinuc.models.devices import half_precision, on_device, prepare_device
from wsinuc.models.diffusion.guidance import guided
from wsinuc.models.diffusion.samplers import restart_steps, sample
from wsinuc.models.pixels import from_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.separation.generated import GeneratedMaps, separate, settings_for_maps
from wsinuc.synthesis.structures import from_diffusion, structure_map
from wsinuc.synthesis.tissues import tissue_of
from wsinuc.workflows.synthesize.config import (
    SynthesisConfig,
    check_drawable,
    check_outlined,
    real_field,
    resolved_guidance,
    seed_of,
    sequence_of,
)
from wsinuc.workflows.synthesize.folder import SyntheticSample
from wsinuc.workflows.synthesize.layouts import described

CONDITIONS = ("instances", "raw")
_CHANNELS = 3  # of images, and of structures
_NUCLEUS = 0.5
"""Generated probability from which a pixel is one of a nucleus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NudiffRecipe:
    """What makes samples of method B; every process opens it for itself."""

    structure_model: Path | None
    """None where structures are real."""
    image_model: Path
    structures: Dataset | None
    """Annotated images whose nuclei get new images."""
    config: SynthesisConfig
    condition: str = "instances"
    device: str = "cpu"

    def open(self) -> NudiffMaker:
        """Load the networks.

        Raises
        ------
        CheckpointError
            A checkpoint is of another method, or damaged.
        ConfigError
            The networks do not fit each other or the request, or guidance is asked of one trained without.
        DataError
            The data set marks nuclei with points.
        DeviceError
            There is no such device.
        """
        if self.condition not in CONDITIONS:
            raise ConfigError(f"condition must be one of {', '.join(CONDITIONS)}, got {self.condition!r}")
        if (self.structure_model is None) == (self.structures is None):
            raise ConfigError("structures come from a structure model or from a data set: give one of the two")
        if self.structures is not None:
            check_outlined(self.structures)
        images = load_image_model(self.image_model)
        structures = None
        if self.structure_model is not None:
            structures = load_structure_model(self.structure_model)
        return NudiffMaker(self, images, structures)


class NudiffMaker:
    """The loaded networks; calling it with numbers makes these samples."""

    def __init__(self, recipe: NudiffRecipe, images: ImageModel, structures: StructureModel | None) -> None:
        self.recipe = recipe
        self.images = images
        self.structures = structures
        self.mpp = float(images.config["mpp"])
        self.size = recipe.config.size or int(images.config["size"])
        self.smallest_px = int(images.config["smallest_px"])
        self.guidance = resolved_guidance(recipe.config.guidance, float(images.config["drop_rate"]), "structure")
        # At another resolution nuclei would have another size than those the image model knows.
        if structures is not None and structures.config["mpp"] != images.config["mpp"]:
            raise ConfigError(
                f"the structure model works at {structures.config['mpp']:g} um per pixel, the image model at "
                f"{images.config['mpp']:g}: use two that were trained at the same resolution"
            )
        self.device = prepare_device(recipe.device)
        for model in (images, structures):
            if model is not None:
                sampler = recipe.config.sampler
                check_drawable(self.size, sampler, stride=model.network.config.stride, steps=model.process.steps)
                on_device(model.network, self.device).eval()

    def __call__(self, numbers: range) -> list[SyntheticSample]:
        """The samples of these numbers as one batch; raises SynthesisError."""
        if self.structures is None:
            drafts = self._real(numbers)
        else:
            drafts = self._generated(numbers)
        conditions = torch.from_numpy(np.stack([condition for condition, _ in drafts]))
        pictures = from_network(self._draw(conditions.to(self.device), numbers))
        return [replace(draft, image=picture) for (_, draft), picture in zip(drafts, pictures, strict=True)]

    def flops(self) -> float:
        """Of one sample, both networks. Their weights are dropped: call it on a maker that is not used afterwards."""
        steps = self.recipe.config.sampler.steps
        size = self.size
        # Guidance asks the network twice: with the structure and without.
        passes = 1 if self.guidance == 0 else 2
        image_steps = steps + restart_steps(self.images.process, self.recipe.config.sampler)
        total = image_steps * passes * _flops(self.images.network, size, condition=True)
        if self.structures is not None:
            total += steps * _flops(self.structures.network, size, condition=False)
        return total

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """Those of the real structures; generated ones have none."""
        if self.recipe.structures is None:
            return ()
        return self.recipe.structures.classes

    def identity(self) -> dict[str, Any]:
        """What decides the samples beside the settings of any synthesis, as JSON types."""
        paths = {"structure": self.recipe.structure_model, "image": self.recipe.image_model}
        dataset = self.recipe.structures
        return {
            "method": "nudiff",
            "checkpoints": {role: file_sha256(path) for role, path in paths.items() if path is not None},
            "condition": self.recipe.condition,
            "structures": "generated" if dataset is None else described(dataset),
            "restart": self.recipe.config.sampler.restart,
        }

    @property
    def parameters(self) -> int:
        """Of all networks."""
        networks = [model.network for model in (self.images, self.structures) if model is not None]
        return sum(p.numel() for network in networks for p in network.parameters())

    def _generated(self, numbers: range) -> list[tuple[NDArray[np.float32], SyntheticSample]]:
        """Condition and labelled draft of samples whose structures come from noise."""
        assert self.structures is not None
        config = self.recipe.config
        structures = sample(
            self.structures.process,
            half_precision(self.structures.network, self.device),
            (_CHANNELS, self.size, self.size),
            [seed_of(config.seed, k, "structure") for k in numbers],
            replace(config.sampler, restart=0),  # grain of structures ends with the separation
            levels=self.structures.levels,
            device=self.device,
        )
        settings = settings_for_maps(self.mpp, smallest_um2=self.structures.smallest_um2)
        drafts = []
        for k, raw in zip(numbers, from_diffusion(structures.cpu().numpy()), strict=True):
            labels = separate("hv", GeneratedMaps(semantic=raw[0], hv=raw[1:]), settings).labels
            if self.recipe.condition == "raw":
                # The image network has learned from 0 and 1 alone.
                condition = np.concatenate([(raw[:1] >= _NUCLEUS).astype(np.float32), raw[1:]])
            else:
                condition = structure_map(labels, smallest_px=self.smallest_px)
            drafts.append((condition, _draft(k, labels, source="generated")))
        return drafts

    def _real(self, numbers: range) -> list[tuple[NDArray[np.float32], SyntheticSample]]:
        """Condition and labelled draft of samples with the nuclei of real images."""
        assert self.recipe.structures is not None
        dataset = self.recipe.structures
        drafts = []
        for k in numbers:
            rng = np.random.default_rng(sequence_of(self.recipe.config.seed, k, "layout"))
            image = dataset[int(rng.integers(len(dataset)))]
            field = real_field(image, rng, mpp=self.mpp, size=self.size)
            draft = _draft(k, field.labels, field.classes, tissue=tissue_of(image.attributes), source=image.name)
            drafts.append((structure_map(field.labels, smallest_px=self.smallest_px), draft))
        return drafts

    def _draw(self, conditions: Tensor, numbers: range) -> Tensor:
        config = self.recipe.config
        denoiser = half_precision(guided(self.images.network, conditions, self.guidance), self.device)
        return sample(
            self.images.process,
            denoiser,
            (_CHANNELS, self.size, self.size),
            [seed_of(config.seed, k, "image") for k in numbers],
            config.sampler,
            levels=self.images.levels,
            device=self.device,
        )


def _draft(
    index: int, labels: NDArray[np.int32], classes: NDArray[np.int32] | None = None, **known: str
) -> SyntheticSample:
    """A sample without its image."""
    blank = np.zeros((0, 0, 3), np.uint8)
    return SyntheticSample(index=index, image=blank, labels=labels, classes=classes, **known)


def _flops(network: nn.Module, size: int, *, condition: bool) -> float:
    """Of one forward pass of one image, counted without data."""
    # The meta device computes shapes alone, so counting takes neither time nor memory.
    network = network.to("meta")
    image = torch.zeros(1, _CHANNELS, size, size, device="meta")
    t = torch.zeros(1, dtype=torch.long, device="meta")
    more: list[Any] = [image] if condition else []
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image, t, *more)
    return float(counter.get_total_flops())
