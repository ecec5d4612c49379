"""A segmenter of a few thousand weights, which loads in no time: to be spoilt by tests."""

from __future__ import annotations

from pathlib import Path

import torch

from wsinuc.models.checkpoints.checkpoint import save_checkpoint
from wsinuc.models.networks.by_name import build_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.network import NetworkConfig, network_checkpoint
from wsinuc.separation.watershed import WatershedSettings


def write_segmenter(path: Path) -> Path:
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
    save_checkpoint(network_checkpoint(config, build_network("unet", shape).state_dict(), {}), path)
    return path
