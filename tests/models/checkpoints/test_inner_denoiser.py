"""A denoiser out of a segmenter of method A is the one that lies in it, with what suits it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.files.denoisers import SMALL, write_denoiser
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint, require_denoiser_header
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.models.networks.unet import UNet
from wsinuc.segmenters import model_path
from wsinuc.workflows.train.ddpm import load_extractor
from wsinuc.workflows.train.ddpm_config import DdpmTrainConfig


def test_the_denoiser_inside_a_segmenter_is_read_with_what_suits_it() -> None:
    whole = load_checkpoint(model_path("diffusion"), "segmenter")
    inner = load_denoiser_checkpoint(model_path("diffusion"))
    assert (inner.kind, inner.config["mpp"], inner.sha256) == ("denoiser", 0.25, whole.sha256)
    assert inner.tensors.keys() == {name[9:] for name in whole.tensors if name.startswith("denoiser.")}
    assert torch.equal(inner.tensors["stem.weight"], whole.tensors["denoiser.stem.weight"].float())
    suited = DdpmTrainConfig().suited(require_denoiser_header(model_path("diffusion")))
    assert (suited.features.timesteps, suited.features.blocks, suited.factor) == ((0,), (4, 5, 6), 2)
    extractor = load_extractor(inner, suited.features, torch.device("cpu"))
    assert list(map(list, extractor.channels.items())) == whole.config["ensemble"]["channels"]


def test_a_denoiser_of_its_own_leaves_the_settings_as_they_are(tmp_path: Path) -> None:
    path = write_denoiser(tmp_path / "denoiser.safetensors", UNet(SMALL))
    assert DdpmTrainConfig().suited(require_denoiser_header(path)) == DdpmTrainConfig()
    assert load_denoiser_checkpoint(path).tensors.keys() == UNet(SMALL).state_dict().keys()


def test_a_denoiser_may_say_what_suits_it(tmp_path: Path) -> None:
    features = {"timesteps": [10], "blocks": [1, 2]}
    path = write_denoiser(tmp_path / "denoiser.safetensors", UNet(SMALL), features=features, factor=2)
    suited = DdpmTrainConfig().suited(require_denoiser_header(path))
    assert suited.features == FeatureConfig(timesteps=(10,), blocks=(1, 2))
    assert suited.factor == 2


def test_other_segmenters_hold_none() -> None:
    with pytest.raises(CheckpointError, match=r"of the method unet and holds no denoiser: give one"):
        require_denoiser_header(model_path("student"))
    with pytest.raises(CheckpointError, match=r"of the method joint and holds no denoiser"):
        load_denoiser_checkpoint(model_path("accurate"))
