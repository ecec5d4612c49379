"""A segmenter of a few thousand weights, which loads in no time: to be spoilt by tests."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.networks.by_name import build_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.network import NetworkConfig, network_checkpoint
from wsinuc.separation.settings import WatershedSettings


def tiny_segmenter() -> Checkpoint:
    """A U-Net of chance for tiles of 96 px."""
    shape = {"classes": 2, "maps": 1, "base": 4, "levels": 3}
    torch.manual_seed(0)
    config = NetworkConfig(
        method="unet",
        network=shape,
        watershed=WatershedSettings(mpp=0.5),
        separation="distance",
        classes=(NucleusClass("Nucleus", (0, 200, 80)),),
        tile=96,
        margin=16,
        mpp_range=(0.1, 1.1),
    )
    made = network_checkpoint(config, build_network("unet", shape).state_dict(), {})
    return replace(made, config=json.loads(json.dumps(asdict(config))))


def write_segmenter(path: Path) -> Path:
    """Such a checkpoint as a file."""
    save_checkpoint(tiny_segmenter(), path)
    return path
