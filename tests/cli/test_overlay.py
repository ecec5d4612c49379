"""From options to settings: the preset with exactly what was given, whatever the method."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from helpers.files.denoisers import SMALL, write_denoiser
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet
from wsinuc.workflows.denoiser.config import PRESETS
from wsinuc.workflows.train.ddpm import DdpmTrainConfig
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc_cli.commands.distill import distill
from wsinuc_cli.commands.pretrain.command import pretrain
from wsinuc_cli.commands.sweep import sweep
from wsinuc_cli.commands.train import DDPM_FIELDS, NETWORK_FIELDS, ddpm_config, network_config, train
from wsinuc_cli.config_defaults import current_defaults
from wsinuc_cli.help.stated_defaults import stated_defaults
from wsinuc_cli.options.overlay import field_of, given_options, overlaid, refuse_foreign, with_fields


def test_a_field_changes_and_nothing_else():
    config = DdpmTrainConfig.paper()
    changed = with_fields(config, {"features.seed": 7})
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


@pytest.fixture(name="denoiser")
def _denoiser(tmp_path: Path) -> Path:
    return write_denoiser(tmp_path / "denoiser.safetensors", UNet(SMALL))


def test_paper_reads_the_published_features(denoiser: Path):
    config = ddpm_config("paper", {}, denoiser)
    assert config == DdpmTrainConfig.paper()
    assert config.features.timesteps == (50, 150, 250)
    assert config.features.blocks == (6, 8, 10, 12)
    with torch.device("meta"):
        unet = UNet(PRESETS["paper"].unet)
    assert sum(FeatureExtractor(unet, GaussianDiffusion(), config.features).channels.values()) == 2688


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_every_option_of_method_a_holds_with_every_preset(preset: str, denoiser: Path):
    given = {"members": 3, "visits": 2, "tune": 30, "lr": 2e-4, "timesteps": (5,), "seed": 9, "separation": "hv"}
    config = ddpm_config(preset, given, denoiser)
    assert (config.members, config.sampling.visits, config.features.timesteps) == (3, 2, (5,))
    assert config.tuning is not None
    assert (config.tuning.fit.steps, config.tuning.ensemble_fit.steps, config.tuning.fit.lr) == (30, 10, 2e-4)
    assert (config.seed, config.tuning.seed, config.separation) == (9, 9, "hv")
    assert ddpm_config(preset, {"lr": 5e-3}, denoiser).fit.lr == 5e-3


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


def test_fields_that_must_suit_each_other_change_together():
    """In any order: a batch of 6 in 4 passes would be refused, and so would the old batch in 3."""
    config = replace(PRESETS["cpu"], batch=8, fit=replace(PRESETS["cpu"].fit, accumulate=4))
    paths = {"batch": "batch", "accumulate": "fit.accumulate"}
    for given in ({"batch": 6, "accumulate": 3}, {"accumulate": 3, "batch": 6}):
        changed = overlaid(config, paths, given)
        assert (changed.batch, changed.fit.accumulate) == (6, 3)


def test_a_path_may_lead_into_a_value_that_is_set_too():
    config = with_fields(DdpmTrainConfig(), {"features.seed": 3, "features": FeatureConfig(timesteps=(7,))})
    assert (config.features.timesteps, config.features.seed) == ((7,), 3)


def test_options_name_fields_that_exist():
    for path in DDPM_FIELDS.values():
        field_of(DdpmTrainConfig(), path)
    for path in NETWORK_FIELDS.values():
        assert field_of(NetworkTrainConfig.quick("unet"), path) == field_of(NetworkTrainConfig(method="unet"), path)


def test_help_states_the_defaults_that_the_configs_hold():
    """The help reads them from a file, because the configs import PyTorch; this is what keeps the file true."""
    assert stated_defaults() == current_defaults(), "run: python -m wsinuc_cli.config_defaults"


@pytest.mark.parametrize(
    ("command", "option", "text"),
    [
        (train, "members", "[default: 5; paper 10]"),
        (train, "crop", "[default: 128, hovernet 256; paper 256]"),
        (train, "separation", "[default: distance, hovernet hv]"),
        (sweep, "timesteps", "[default: 5;50;150;250;50,150,250]"),
        (distill, "held_out", "[default: 0.1]"),
        (pretrain, "lr", "[default: cpu 0.001, cosyn 0.0003]"),
    ],
)
def test_help_shows_them(command: click.Command, option: str, text: str):
    (found,) = [each for each in command.params if each.name == option]
    assert isinstance(found, click.Option)
    assert str(found.help).endswith(text)
    assert not found.show_default, "the default is the config's, not the option's"


def test_help_does_not_wait_for_pytorch():
    commands = "from wsinuc_cli.commands import train, pretrain, sweep, distill"
    script = f"import sys; {commands}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_option_of_another_method_is_refused():
    with pytest.raises(click.UsageError, match="--crop means nothing to --method ddpm, only to unet"):
        refuse_foreign({"crop": 3, "seed": 1}, {"crop": ("unet",)}, "ddpm")
