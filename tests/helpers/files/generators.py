"""Checkpoints of generators that are tiny and untrained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.synthesis.layouts import NucleusLayout

SHAPE = {"base": 32, "multipliers": (1,), "res_blocks": 1, "attention_factors": (), "middle_attention": False}


def filled(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights of chance, also where a network begins with zeros."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    return network


def write_nudiff(folder: Path, *, drop_rate: float = 0.2, mpp: float = 0.5, broken: bool = False) -> tuple[Path, Path]:
    from wsinuc.models.networks.spade_unet import SpadeUNet, SpadeUNetConfig

    common = {"betas": "linear", "steps": 1000, "mpp": mpp, "size": 32, "classes": [], "smallest_px": 30}
    common["levels"] = {"mean": [0.0] * 3, "covariance": [[0.1 * (i == j) for j in range(3)] for i in range(3)]}
    shapes = {"structure": UNetConfig(**SHAPE), "image": SpadeUNetConfig(**SHAPE, spade_width=16)}  # type: ignore[arg-type]
    paths = []
    for seed, (role, shape) in enumerate(shapes.items()):
        network = filled(SpadeUNet(shape) if isinstance(shape, SpadeUNetConfig) else UNet(shape), seed)
        if broken:
            next(network.parameters()).data.fill_(3e38)  # finite, and too large for any sum
        config = common | {"network": dataclasses.asdict(shape), "drop_rate": drop_rate, "learned_variance": False}
        path = folder / f"{role}-{drop_rate}-{mpp}-{broken}.safetensors"
        save_checkpoint(
            Checkpoint(kind=f"nudiff-{role}", config=config, provenance={}, tensors=network.state_dict()), path
        )
        paths.append(path)
    return paths[0], paths[1]


def write_cosyn(
    path: Path,
    *,
    classes: tuple[str, ...] = ("round", "long"),
    drop_rate: float = 0.1,
    without: tuple[str, ...] = (),
) -> Path:
    from wsinuc.models.checkpoints.cosyn import network_config
    from wsinuc.models.conditioning.points_encoder import PointsConfig
    from wsinuc.models.conditioning.text_encoders import NoText, TemplateEncoder
    from wsinuc.models.networks.cosyn_unet import CoSynConfig, CoSynUNet
    from wsinuc.synthesis.point_process import PointProcess
    from wsinuc.synthesis.prompts import Vocabulary

    encoder = TemplateEncoder(Vocabulary(tissues=("breast", "colon"), classes=classes))
    listened = NoText() if "text" in without else encoder
    shape = CoSynConfig(
        classes=len(classes) + 1,
        text_width=listened.width,
        base=32,
        multipliers=(1,),
        blocks=(1,),
        attends=(False,),
        reads=(True,),
        middle_attends=False,
        fusion=(8, 16),
        kernels=(3,),
        points=None if "points" in without else PointsConfig(width=8, growth=4, blocks=1, dense=1),
        context=16,
        latents=2,
        resampler_depth=1,
        heads=1,
    )
    rng = np.random.default_rng(0)
    real = NucleusLayout(
        shape=(64, 64),
        points=rng.uniform(0, 64, (24, 2)),
        classes=rng.integers(1, len(classes) + 1, 24, dtype=np.int32),
    )
    config: dict[str, Any] = {
        "network": network_config(shape),
        "steps": 1000,
        "mpp": 0.5,
        "size": 32,
        "classes": [{"name": name, "color": [9, 9, 200]} for name in classes],
        "text": listened.config(),
        "layouts": {},
        "tissue_column": None,
        "drop_rate": 0.0 if "text" in without else drop_rate,
    }
    if without:
        config |= {"without": list(without), "tissues": ["breast", "colon"]}
    if "points" in without:
        common = [("colon", ["long"], 3), ("breast", [], 1)]
        config["prompts"] = [{"tissue": t, "stain": "", "classes": c, "count": n} for t, c, n in common]
    else:
        config["layouts"] = dict.fromkeys(("breast", "colon"), PointProcess.fit([real], 0.5).to_json())
    network = filled(CoSynUNet(shape), 0)
    save_checkpoint(Checkpoint(kind="cosyn", config=config, provenance={}, tensors=network.state_dict()), path)
    return path
