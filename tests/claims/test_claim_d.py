"""Claim D in its tiny form: pre-trained and random starts of one network, tuned on the same windows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "claims"))
import claim_d
import pixel_scores
import pretraining
from labelled_sets import LabelledSet
from records import read_records

from helpers.discs import square
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.workflows.training import run as training_run
from wsinuc.workflows.training.run import Session

SHAPE = AttentionUNetConfig(dim=8, multipliers=(1, 2), heads=1, head_width=4)


def test_both_starts_are_tuned_on_the_same_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "draw_training", lambda log, path, **more: None)
    config = replace(claim_d.PRETRAIN, patch=32, batch=2, unet=SHAPE).lasting(1)
    tissue = square(0, "tissue").image
    assert pretraining.run((claim_d.PLAN,), (1,), lambda name: [tissue], tmp_path / "networks", config, Session())
    tiny = replace(claim_d.ROW, shape=SHAPE, steps=2, every=1, crop=32, batch=2)
    grid = claim_d.Grid(config=config, row=tiny, counts=(1,), seeds=(0,))
    weights = tmp_path / "networks" / "genselfdiff-1.safetensors"
    data = LabelledSet("discs", ("Nucleus",), True, [square(i, f"image{i}") for i in range(5)], [square(9, "test")])
    for _ in range(2):
        claim_d.tune(grid, weights, data, tmp_path / "runs", lambda: False)
    assert claim_d.tuning_price(["discs"], tmp_path / "runs", grid).runs == 0
    pretrained, random = read_records(tmp_path / "runs")
    assert (pretrained["row"], random["row"]) == ("pretrained", "random")
    assert (pretrained["pretraining_steps"], random["pretraining_steps"]) == (1, 0)
    assert pretrained["inputs"]["set"] == random["inputs"]["set"]
    assert random["inputs"]["weights"] is None
    assert 0 <= pretrained["sensitivity"] <= 1


def test_scores_of_outlines_have_the_right_values() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[10:20, 10:20] = 1
    image = replace(square(0, "row"), labels=truth)
    shifted = np.zeros((64, 64), np.int64)
    shifted[10:20, 15:25] = 1
    scores = pixel_scores.outline_scores([image], [shifted])
    # Half of each lies in the other; the farthest pixels are 5 px of 0.25 um apart.
    assert (scores["f1"], scores["sensitivity"], scores["precision"]) == (0.5, 0.5, 0.5)
    assert scores["hausdorff_um"] == 1.25
    nothing = pixel_scores.outline_scores([image], [np.zeros((64, 64), np.int64)])
    assert (nothing["hausdorff_um"], nothing["hausdorff_squares"]) == (None, 0)


@pytest.mark.slow
def test_the_command_runs_in_its_tiny_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = LabelledSet("tnbc", ("Nucleus",), True, [square(i, f"image{i}") for i in range(5)], [square(9, "test")])
    monkeypatch.setitem(claim_d.SETS, "tnbc", lambda folder, cache: data)
    monkeypatch.setattr(pretraining, "pool", lambda name, folder: [square(0, "tissue").image])
    for name in (*claim_d.TISSUE, "tnbc"):
        (tmp_path / name).mkdir(exist_ok=True)
    words = ["claim_d.py", tmp_path, tmp_path / "networks", tmp_path / "out", "--sets", "tnbc", "--tiny"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    claim_d.main()
    assert {record["row"] for record in read_records(tmp_path / "out" / "tiny")} == {"pretrained", "random"}
