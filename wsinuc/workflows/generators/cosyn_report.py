"""What a training of method C shows of itself: pages of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.models.conditioning.text import TextEncoder
from wsinuc.models.devices import forward_pass
from wsinuc.models.diffusion.joint import JointDiffusion
from wsinuc.models.diffusion.joint_sampling import JointRequest, sample_joint
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.samplers import SamplerConfig
from wsinuc.models.networks.cosyn_unet import CoSynUNet
from wsinuc.models.pixels import from_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig
from wsinuc.workflows.generators.cosyn_data import JointExamples, as_unit

ROWS = 4
_FIRST = 2**40  # number of the examples whose layouts are shown: none that any training reaches
_GAP_PX = 4


@dataclass(frozen=True, slots=True, eq=False)
class JointGenerator:
    """A generator of method C that is being trained, with what belongs to it."""

    network: CoSynUNet
    """On its device."""
    process: JointDiffusion
    encoder: TextEncoder
    """Reads the prompts."""


def sample_page(
    model: JointGenerator, examples: JointExamples, config: CoSynTrainConfig, levels: MeanLevels
) -> NDArray[np.uint8]:
    """A page of `ROWS` samples as RGB: layout, label, distance map, image; the same layouts and noise each time."""
    shown = [examples.example(_FIRST + i) for i in range(ROWS)]
    _, points = as_unit(shown)
    text = model.encoder([example.prompt for example in shown])
    device = next(model.network.parameters()).device
    with forward_pass(device, config.fit.bf16):
        unit = sample_joint(
            model.process,
            model.network,
            JointRequest(points=points, text=text, seeds=[config.seed + i for i in range(ROWS)]),
            SamplerConfig("dpm++", config.sample_steps),
            device=device,
            levels=levels,
        )
    images = from_network(unit.image)
    cones = (unit.distance_map * 255).round().byte().cpu().numpy()
    labels = unit.label.cpu().numpy()
    palette = _palette(examples.classes)
    rows = [
        [palette[ndimage.grey_dilation(e.points, size=3)], palette[label], np.repeat(cone[..., None], 3, 2), image]
        for e, label, cone, image in zip(shown, labels, cones, images, strict=True)
    ]
    return np.concatenate([_side_by_side(row) for row in rows])


def _palette(classes: Sequence[NucleusClass]) -> NDArray[np.uint8]:
    return np.array([(255, 255, 255), *(c.color for c in classes)], np.uint8)


def _side_by_side(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([np.pad(t, ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=128) for t in tiles], axis=1)
