"""From options to settings: the preset with exactly what was given, whatever the method."""

from __future__ import annotations

import re
from dataclasses import replace

import click
import pytest
import torch
from click.testing import CliRunner

from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.extractor import FeatureExtractor
from wsinuc.models.networks.unet import UNet
from wsinuc.workflows.denoiser.config import PRESETS
from wsinuc.workflows.train.ddpm import DdpmTrainConfig
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc_cli.overlay import default_of, field_of, given_options, refuse_foreign, with_field
from wsinuc_cli.train import DDPM_FIELDS, NETWORK_FIELDS, ddpm_config, network_config, train


def test_a_field_changes_and_nothing_else():
    config = DdpmTrainConfig.paper()
    changed = with_field(config, "features.seed", 7)
    assert changed.features.seed == 7
    assert replace(changed, features=config.features) == config


def test_only_what_was_written_counts():
    seen = {}

    @click.command()
    @click.option("--one", default=1)
    @click.option("--two", default=2)
    @click.pass_context
    def command(context: click.Context, **options: int) -> None:
        seen.update(given_options(context))

    CliRunner().invoke(command, ["--one", "1"])  # the default, but written
    assert seen == {"one": 1}


def test_paper_reads_the_published_features():
    config = ddpm_config("paper", {})
    assert config == DdpmTrainConfig.paper()
    assert config.features.timesteps == (50, 150, 250)
    assert config.features.blocks == (6, 8, 10, 12)
    with torch.device("meta"):
        unet = UNet(PRESETS["paper"].unet)
    assert sum(FeatureExtractor(unet, GaussianDiffusion(), config.features).channels.values()) == 2688


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_every_option_of_method_a_holds_with_every_preset(preset: str):
    given = {"members": 3, "visits": 2, "tune": 30, "lr": 2e-4, "timesteps": (5,), "seed": 9, "separation": "hv"}
    config = ddpm_config(preset, given)
    assert (config.members, config.sampling.visits, config.features.timesteps) == (3, 2, (5,))
    assert config.tuning is not None
    assert (config.tuning.fit.steps, config.tuning.ensemble_fit.steps, config.tuning.fit.lr) == (30, 10, 2e-4)
    assert (config.seed, config.tuning.seed, config.separation) == (9, 9, "hv")
    assert ddpm_config(preset, {"lr": 5e-3}).fit.lr == 5e-3


@pytest.mark.parametrize(
    ("method", "rate", "betas"),
    [("finetune", 1e-4, (0.5, 0.999)), ("hovernet", 1e-4, (0.9, 0.999)), ("unet", 1e-4, (0.9, 0.999))],
)
def test_networks_get_their_published_rates(method: str, rate: float, betas: tuple[float, float]):
    config = network_config(method, "paper", {})
    assert (config.fit.lr, config.fit.betas) == (rate, betas)
    assert network_config(method, "paper", {"lr": 3e-4}).fit.lr == 3e-4
    assert network_config(method, "paper", {"steps": 7}).fit == replace(config.fit, steps=7)
    assert not network_config(method, "paper", {"from_scratch": True}).pretrained


def test_options_name_fields_that_exist():
    for path in DDPM_FIELDS.values():
        assert field_of(DdpmTrainConfig(), path) == default_of(DdpmTrainConfig, path)
    for path in NETWORK_FIELDS.values():
        assert field_of(NetworkTrainConfig.quick("unet"), path) == field_of(NetworkTrainConfig(method="unet"), path)


def test_help_says_what_the_presets_hold():
    """The help is written without importing PyTorch, so this is what keeps its defaults true."""
    shown = {option.name: option.help or "" for option in train.params if isinstance(option, click.Option)}
    stated = {name: re.search(r"\[([^\[\]]*)\]$", text.strip()) for name, text in shown.items()}
    quick, paper = DdpmTrainConfig(), DdpmTrainConfig.paper()
    for name in ("timesteps", "blocks", "members", "visits"):
        values = [field_of(config, DDPM_FIELDS[name]) for config in (quick, paper)]
        texts = [",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
        assert stated[name] is not None
        assert stated[name].group(1) == f"{texts[0]}; paper {texts[1]}"  # type: ignore[union-attr]
    unet, published = NetworkTrainConfig.quick("unet"), NetworkTrainConfig.paper("unet")
    assert f"[{unet.fit.steps}; paper {published.fit.steps}]" in shown["steps"]
    assert (
        f"[{unet.crop}, hovernet {NetworkTrainConfig.quick('hovernet').crop}; paper {published.crop}]" in shown["crop"]
    )
    assert f"[{unet.base}]" in shown["base"]


def test_an_option_of_another_method_is_refused():
    with pytest.raises(click.UsageError, match="--crop means nothing to --method ddpm, only to unet"):
        refuse_foreign({"crop": 3, "seed": 1}, {"crop": ("unet",)}, "ddpm")
