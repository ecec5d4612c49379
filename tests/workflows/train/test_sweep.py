"""The sweep: columns of one table are the features of each choice, and the better choice is found."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from wsinuc.datasets import open_dataset
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.train.ddpm_config import DdpmTrainConfig
from wsinuc.workflows.train.ensemble import EnsembleFitConfig
from wsinuc.workflows.train.pixel_table import SamplingConfig
from wsinuc.workflows.train.sweep import SweepConfig, feature_columns, pixel_scores, sweep, verdicts
from wsinuc_cli.main import main

UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)


def random_unet() -> UNet:
    torch.manual_seed(0)
    unet = UNet(UNET)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return unet.eval()


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    path = tmp_path / "random.safetensors"
    config = {"unet": json.loads(json.dumps(UNET, default=lambda c: {f: getattr(c, f) for f in c.__slots__}))}
    checkpoint = Checkpoint(
        kind="denoiser", config=config | {"mpp": 0.5}, provenance={}, tensors=random_unet().state_dict()
    )
    save_checkpoint(checkpoint, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four images of dark squares on a pale, noisy ground, the last held out."""
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    lines = ["name,patient"]
    for i in range(4):
        labels = np.zeros((64, 64), np.uint16)
        for number, (y, x) in enumerate([(8, 8), (8, 40), (40, 8), (40, 40)], start=1):
            labels[y : y + 12 + i, x : x + 12] = number
        image = np.where(labels[..., None] > 0, (90, 60, 140), (225, 190, 215)) + rng.normal(0, 5, (64, 64, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"i{i}.png")
        Image.fromarray(labels).save(folder / "labels" / f"i{i}.png")
        lines.append(f"i{i},{i}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


CONFIG = SweepConfig(
    timesteps=((5,), (900,), (5, 900)),
    blocks=((1,), (1, 3)),
    sampling=SamplingConfig(visits=1, pixels=300),
    validation_pixels=500,
    fit=EnsembleFitConfig(epochs=20, batch=128),
    members=1,
)


def test_columns_are_the_features_that_the_choice_alone_would_have() -> None:
    """Without noise (its texture depends on the list of timesteps) the choice's own rows are columns of all rows."""
    process = GaussianDiffusion(torch.full((1000,), 1e-12, dtype=torch.float64))
    everything = FeatureExtractor(random_unet(), process, FeatureConfig(timesteps=(5, 50, 900), blocks=(0, 1, 2, 3)))
    x = torch.rand(1, 3, 64, 64)
    rows = torch.cat([m.mean((2, 3)) for m in everything(x).values()], dim=1)
    for timesteps, blocks in [((50,), (1, 3)), ((5, 900), (0,)), ((5, 50, 900), (0, 2, 3))]:
        chosen = FeatureConfig(timesteps=timesteps, blocks=blocks)
        own = FeatureExtractor(random_unet(), process, chosen)
        columns = feature_columns(everything, chosen)
        assert len(columns) == sum(own.channels.values())
        expected = torch.cat([m.mean((2, 3)) for m in own(x).values()], dim=1)
        torch.testing.assert_close(rows[:, columns], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"no timesteps \[7\]"):
        feature_columns(everything, FeatureConfig(timesteps=(7,), blocks=(0,)))


def test_scores_of_pixels() -> None:
    true = np.array([0, 0, 1, 1, 2, 2, -100])
    assert pixel_scores(true, true.copy(), 2) == (1.0, 1.0)
    assert pixel_scores(true, np.array([0, 0, 2, 2, 1, 1, 0]), 2) == (0.0, 1.0)  # nuclei found, classes swapped
    mean_iou, dice = pixel_scores(true, np.array([0, 1, 1, 0, 2, 2, 0]), 3)  # class 3: neither there nor predicted
    assert mean_iou == pytest.approx((1 / 3 + 1) / 2)
    assert dice == pytest.approx(2 * 3 / 8)
    assert all(math.isnan(value) for value in pixel_scores(np.zeros(3, int), np.zeros(3, int), 2))


def test_a_sweep_fits_as_a_training_does_and_asks_for_no_probability_above_one_half() -> None:
    training = DdpmTrainConfig()
    usual = SweepConfig()
    assert (usual.sampling, usual.fit) == (training.sampling, training.fit)
    assert (usual.members, usual.hidden) == (training.members, training.hidden)
    # All probabilities of nucleus are below one half, and still tell nuclei from background.
    rows = np.array([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.6, 0.1, 0.3], [0.65, 0.2, 0.15]], np.float32)
    assert verdicts(rows, np.array([0, 1, 2, -100])).tolist() == [0, 1, 2, 1]


def test_a_sweep_prefers_the_image_to_noise_and_writes_what_it_found(
    data: Path, denoiser: Path, tmp_path: Path
) -> None:
    whole = open_dataset(data, mpp=0.5)
    held_out = whole.where({"patient": frozenset({"3"})})
    training = list(whole.where({}, {"patient": frozenset({"3"})}))
    out, heard = tmp_path / "out", []
    config = replace(CONFIG, finalists=1)
    scores = sweep(training, held_out, (NUCLEUS,), [denoiser], out, config, device="cpu", on_score=heard.append)
    assert len(scores) == 6
    assert len(heard) == 7, "each choice, and the finalist again"
    assert 5 in scores[0].timesteps
    assert scores[-1].timesteps == (900,), "at t = 900 hardly anything but noise is left"
    assert not math.isnan(scores[0].aji)
    table = list(csv.DictReader((out / "sweep.csv").open()))
    assert [row["timesteps"] for row in table] == [",".join(map(str, s.timesteps)) for s in scores]
    assert [row["aji"] == "" for row in table] == [False] + [True] * 5
    best = json.loads((out / "best.json").read_text())
    assert best["denoiser"] == str(denoiser)
    assert tuple(best["timesteps"]) == scores[0].timesteps
    assert FeatureConfig(timesteps=tuple(best["timesteps"]), blocks=tuple(best["blocks"]))
    assert (out / "sweep_0_random.png").read_bytes().startswith(b"\x89PNG")


def test_the_command(data: Path, denoiser: Path, tmp_path: Path) -> None:
    common = [
        "sweep",
        str(data),
        "--mpp",
        "0.5",
        "--denoiser",
        str(denoiser),
        "-o",
        str(tmp_path / "out"),
        "--visits",
        "1",
    ]
    log = tmp_path / "sweep.log"
    chosen = ["--where", "patient=3", "--timesteps", "5,20", "--blocks", "1;1,3", "--log", str(log)]
    run = CliRunner().invoke(main, [*common, *chosen])
    assert run.exit_code == 0, run.output
    assert len(run.output.splitlines()) == 1 + 3 * 2 + 2
    assert "Best: random, timesteps" in run.output
    rows = run.output.splitlines()[1:-2]
    assert [line.partition("  ")[2] for line in log.read_text().splitlines()] == rows
    fitting = CliRunner().invoke(main, [*common, "--where", "patient=3", "--timesteps", "5"])
    assert "Best: random, timesteps 5, blocks 1,2,3." in fitting.output, "of 4 blocks, as deep as the published ones"
    assert "say what to score on" in CliRunner().invoke(main, common).output
    split = tmp_path / "split.json"
    split.touch()
    twice = CliRunner().invoke(main, [*common, "--split", str(split), "--validation", "train"])
    assert twice.exit_code == 2
    assert "score on what was not learned from" in twice.output
    wrong = CliRunner().invoke(main, [*common, "--where", "patient=3", "--blocks", "a,b"])
    assert "expected sets of whole numbers" in wrong.output
    beyond = CliRunner().invoke(main, [*common, "--where", "patient=3", "--blocks", "9"])
    assert beyond.exit_code == 1
    assert "decoder blocks run from 0 to 3" in beyond.output


def test_a_sweep_of_nothing() -> None:
    with pytest.raises(ConfigError, match="at least one set"):
        replace(CONFIG, blocks=((),))
