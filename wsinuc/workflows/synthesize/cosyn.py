"""Samples of method C (Min, Oh, Jeong 2024): image, label and distance map at once, for a layout of
nuclei and a prompt.

Instances are flooded from the layout's points over the distance map, inside the label's foreground;
a nucleus has the class of its point. Of a generator without points the peaks of the distance map
stand in for them, and a nucleus has the class of most of its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.cosyn import CoSynModel, load_cosyn
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.devices import half_precision, on_device, prepare_device
from wsinuc.models.diffusion.joint import JointUnit
from wsinuc.models.diffusion.joint_sampling import JointRequest, sample_joint
from wsinuc.models.diffusion.schedules import quadratic_timesteps, restart_timesteps
from wsinuc.models.pixels import from_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.separation.generated import GeneratedMaps, separate, settings_for_maps
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.synthesize.config import SynthesisConfig, check_drawable, resolved_guidance, seed_of
from wsinuc.workflows.synthesize.folder import SyntheticSample
from wsinuc.workflows.synthesize.layouts import Layouts, LayoutSource, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class CoSynRecipe:
    """What makes samples of method C; every process opens it for itself."""

    model: Path
    layouts: Layouts
    """A data set, one layout for all samples, or None for random ones."""
    layout_name: str = "random"
    """What the manifest says of layouts that are of no data set: ``random``, a file's name."""
    prompts: tuple[str, ...] = ()
    """Of sample k the one at k modulo their number; none: the template's, of the sample's own tissue and classes."""
    tissues: tuple[str, ...] = ()
    config: SynthesisConfig
    text_encoder: Path | None = None
    """Folder of the text encoder's weights, where the model was trained with CLIP."""
    device: str = "cpu"

    def open(self) -> CoSynMaker:
        """Load the networks.

        Raises
        ------
        CheckpointError
            The checkpoint is of another method, or damaged.
        ConfigError
            An unknown tissue, class or word in a prompt, or guidance of a network trained without dropping the text.
        DataError
            The data set of the layouts marks nuclei with points.
        DeviceError
            There is no such device.
        """
        return CoSynMaker(self, load_cosyn(self.model, text_encoder=self.text_encoder))


class CoSynMaker:
    """The loaded networks; calling it with numbers makes these samples."""

    def __init__(self, recipe: CoSynRecipe, model: CoSynModel) -> None:
        config = recipe.config
        self.recipe = recipe
        self.model = model
        self.mpp = float(model.config["mpp"])
        self.size = config.size or int(model.config["size"])
        if config.guidance and "text" in model.config.get("without", ()):
            raise ConfigError(
                f"guidance {config.guidance:g} strengthens the text, and this generator was trained without text: "
                "leave --guidance out"
            )
        check_drawable(self.size, config.sampler, stride=model.network.config.stride, steps=model.process.steps)
        self.guidance = resolved_guidance(config.guidance, float(model.config["drop_rate"]), "text")
        self.source = LayoutSource(
            model=model.config,
            layouts=recipe.layouts,
            name=recipe.layout_name,
            prompts=recipe.prompts,
            tissues=recipe.tissues,
            size=self.size,
            seed=config.seed,
        )
        # Finds unknown words before anything is made.
        model.text_encoder([*recipe.prompts, self.source.scene(0).prompt])
        self.device = prepare_device(recipe.device)
        on_device(model.network, self.device).eval()

    def __call__(self, numbers: range) -> list[SyntheticSample]:
        """The samples of these numbers as one batch; raises SynthesisError."""
        config = self.recipe.config
        scenes = [self.source.scene(k) for k in numbers]
        points = np.stack([scene.layout.point_map for scene in scenes]).astype(np.int64)
        request = JointRequest(
            points=torch.from_numpy(points),
            text=self._text(scenes),
            seeds=[seed_of(config.seed, k, "image") for k in numbers],
            guidance=self.guidance,
        )
        unit = sample_joint(
            self.model.process,
            half_precision(self.model.network, self.device),
            request,
            config.sampler,
            device=self.device,
            levels=self.model.levels,
        )
        parts = zip(
            numbers,
            scenes,
            from_network(unit.image),
            unit.distance_map.cpu().numpy(),
            unit.label.cpu().numpy().astype(np.int32),
            strict=True,
        )
        return [self._sample(*part) for part in parts]

    def flops(self) -> float:
        """Of one sample. The weights are dropped: call it on a maker that is not used afterwards."""
        # Before the weights are dropped.
        text = self._text([self.source.scene(0)])
        network = self.model.network.requires_grad_(False).to("meta")
        blank = torch.zeros(1, 3, self.size, self.size, device="meta")
        ids = torch.zeros(1, self.size, self.size, dtype=torch.long, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            tokens = TextTokens(text.tokens.to("meta"), text.mask.to("meta"))
            network(JointUnit(blank, blank[:, :1], ids), torch.zeros(1, device="meta"), ids, tokens)
        sampler = self.recipe.config.sampler
        walk = quadratic_timesteps(self.model.process.steps, sampler.steps)
        evaluations = len(walk) + len(restart_timesteps(walk, sampler.restart))
        # Guidance asks the network twice: with the text and without.
        return float(counter.get_total_flops()) * evaluations * (1 if self.guidance == 0 else 2)

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """Those of the model; none where its training had none, so that the set goes with that of the training."""
        known = from_header(tuple[NucleusClass, ...], self.model.config["classes"])
        return () if known == (NUCLEUS,) else known

    def identity(self) -> dict[str, Any]:
        """What decides the samples beside the settings of any synthesis, as JSON types."""
        return {
            "method": "cosyn",
            "checkpoints": {"model": file_sha256(self.recipe.model)},
            "layouts": self.source.described,
            "prompts": list(self.recipe.prompts),
            "tissues": list(self.recipe.tissues),
            "restart": self.recipe.config.sampler.restart,
        }

    @property
    def parameters(self) -> int:
        """Of the network, the text encoder left out."""
        return sum(p.numel() for p in self.model.network.parameters())

    def _text(self, scenes: list[Scene]) -> TextTokens:
        text = self.model.text_encoder([scene.prompt for scene in scenes])
        return TextTokens(text.tokens.to(self.device), text.mask.to(self.device))

    def _sample(
        self,
        index: int,
        scene: Scene,
        image: NDArray[np.uint8],
        distance: NDArray[np.float32],
        semantic: NDArray[np.int32],
    ) -> SyntheticSample:
        # The layout that the image was drawn for has one point per nucleus.
        maps = GeneratedMaps(semantic=semantic, distance=distance, points=scene.layout.point_map)
        way = "points" if self.source.places_nuclei else "peaks"
        nuclei = separate(way, maps, settings_for_maps(self.mpp))
        return SyntheticSample(
            index=index,
            image=image,
            labels=nuclei.labels,
            classes=nuclei.classes if self.classes else None,
            tissue=scene.tissue,
            prompt=scene.text,
            source=scene.source,
        )
