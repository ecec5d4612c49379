"""The network that learns: what its header will say, and the weights of an earlier student to go on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.networks.by_name import check_shape
from wsinuc.models.networks.supervised_unet import folded
from wsinuc.segmenters.network import NetworkConfig
from wsinuc.segmenters.tiling import MAPS
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.teacher import Teacher


def describe_student(teacher: Teacher, config: DistillConfig) -> NetworkConfig:
    """What the student's header will say: the teacher's classes, separation and post-processing."""
    taught = teacher.segmenter
    separation = taught.config.separation
    mpp = config.mpp or taught.mpp
    shape = {
        "classes": len(taught.classes) + 1,
        "maps": MAPS[separation],
        "base": config.base,
        "levels": config.levels,
        "smooth": True,
        "fold": config.fold,
    }
    check_shape("unet", shape)
    described = NetworkConfig.describe("unet", shape, mpp=mpp, separation=separation, classes=taught.classes)
    watershed = replace(taught.config.watershed, mpp=mpp)
    finest = min(described.mpp_range[0], taught.mpp_range[0])
    coarsest = max(described.mpp_range[1], taught.mpp_range[1])
    return replace(described, watershed=watershed, mpp_range=(finest, coarsest))


def begin_with(network: nn.Module, start: Path, described: NetworkConfig) -> str:
    """Give the network the weights of an earlier student, folded if it is to be and was not; the sha256 of its file."""
    checkpoint = load_checkpoint(start, "segmenter")
    network_of = checkpoint.config.get("network")
    known = network_of if isinstance(network_of, dict) else {}
    shape = {"method": checkpoint.config.get("method"), "network": {"fold": 1} | known}
    wanted = {"method": "unet", "network": described.network}
    # A student without folding may start one with it: its weights can be folded, not the reverse.
    unfolded = wanted | {"network": described.network | {"fold": 1}}
    if shape not in (wanted, unfolded):
        raise CheckpointError(
            f"{start} cannot be gone on from: a student of these settings is {wanted}, and it is {shape}; "
            "give the settings "
            "that it was made with, or begin anew"
        )
    weights = {name: value.float() for name, value in checkpoint.tensors.items()}
    fold = described.network["fold"] if shape != wanted else 1
    try:
        network.load_state_dict(folded(weights, fold))
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{start}: the weights do not fit their own header: it is damaged") from error
    return checkpoint.sha256
