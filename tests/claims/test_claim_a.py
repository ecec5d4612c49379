"""Claim A's runs in their tiny form: squares, windows, both kinds of rows, records, and what is done again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "claims"))
import claim_a
import labelled_sets
import network_rows
import pixel_scores
import pretrain_a
import pretraining
from feature_rows import ReadingConfig
from records import is_done, read_record, read_records

from helpers.discs import square
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.workflows.train.ensemble import EnsembleFitConfig
from wsinuc.workflows.train.pixel_table import SamplingConfig


@pytest.fixture(scope="module")
def data() -> labelled_sets.LabelledSet:
    pool = [square(i, f"image{i % 3}") for i in range(8)]
    return labelled_sets.LabelledSet("discs", ("Nucleus",), True, pool, [square(100, "test")])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights stand for every pre-training."""
    folder = tmp_path_factory.mktemp("networks")
    shape = UNetConfig(base=32, multipliers=(1, 1, 1, 1, 1, 1), attention_factors=(), middle_attention=False)
    pretraining.write_random(folder / "masked-20.safetensors", replace(pretrain_a.CONFIG, patch=64, unet=shape))
    return folder


READING = ReadingConfig(
    sampling=replace(SamplingConfig.paper(), pixels=600),
    fit=replace(EnsembleFitConfig.paper(), epochs=2),
    members=2,
    hidden=16,
)
GRID = claim_a.Grid(counts=(1, 2), seeds=(0,), reading=READING)


def test_feature_rows_write_a_record_a_run_and_do_nothing_twice(
    data: labelled_sets.LabelledSet, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> str:
        claim_a.feature_runs("masked", data, networks, tmp_path, GRID, lambda: False)
        return capsys.readouterr().out

    assert run().count(".json") == 2
    record = read_record(tmp_path / "discs-masked-20-2-0.json")
    assert (record["count"], record["pretraining_steps"], record["gold"]) == (2, 20, True)
    assert record["mean_iou"] == record["iou"]["Nucleus"] > 0
    assert run() == ""
    # Another test square, or other weights: to be done again.
    inputs = record["inputs"]
    changed = replace(data, test=[square(101, "test")])
    assert claim_a.inputs_of(data, inputs["weights"]) == inputs
    assert not is_done(tmp_path / "discs-masked-20-2-0.json", claim_a.inputs_of(changed, inputs["weights"]))
    assert not is_done(tmp_path / "discs-masked-20-2-0.json", claim_a.inputs_of(data, "other"))


def test_a_network_row_learns_discs_and_keeps_its_best_weights(
    data: labelled_sets.LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = network_rows.NetworkRow(method="unet", base=4, levels=2, steps=40, every=20, crop=32, batch=4, lr=1e-2)
    monkeypatch.setitem(claim_a.NETWORK_ROWS, "unet", row)
    claim_a.network_runs("unet", data, tmp_path, replace(GRID, counts=(2,)), lambda: False)
    (record,) = read_records(tmp_path)
    assert record["mean_iou"] > 0.6
    assert record["best_step"] <= record["steps"] <= 40


def test_the_first_of_more_windows_are_the_same_and_of_different_images(data: labelled_sets.LabelledSet) -> None:
    many = labelled_sets.windows(data.pool, 8, seed=3)
    few = labelled_sets.windows(data.pool, 3, seed=3)
    assert [each.name for each in few] == [each.name for each in many[:3]]
    assert len({each.attributes["image"] for each in few}) == 3
    with pytest.raises(ValueError, match="9 windows"):
        labelled_sets.windows(data.pool, 9, seed=3)


def test_an_image_is_cut_at_the_common_resolution_around_its_middle() -> None:
    image = replace(square(0, "whole"), mpp=0.5)
    squares = labelled_sets.squares_of(image, side=48)
    assert [each.name for each in squares] == [f"whole_0_{y}_{x}" for y in (16, 64) for x in (16, 64)]
    assert all(each.labels.shape == (48, 48) and each.mpp == 0.25 for each in squares)


def test_pixels_nobody_judged_do_not_count() -> None:
    labels = np.array([[0, 1, 2, 0]], np.int32)
    image = replace(
        square(0, "row"),
        labels=labels,
        classes=np.array([0, 1, 0], np.int32),
        ignore=np.array([[True, False, False, False]]),
    )
    # The first pixel is ignored, the third is a nucleus of unknown class: both predictions there are nobody's business.
    counts = pixel_scores.pooled_counts([image], [np.array([[1, 1, 1, 0]])], 1)
    assert counts.mean_iou == 1.0
    assert counts.confusion.sum() == 2


def test_a_point_without_nucleus_hides_its_surroundings_but_no_nucleus() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[:, 12:] = 1
    hidden = labelled_sets.near_lonely_points(np.array([[10.0, 9.0], [5.0, 15.0]]), labels, 4.0)
    assert hidden[10, [8, 11]].all()
    assert not hidden[[10, 5, 0], [12, 15, 0]].any()


def test_a_price_counts_what_is_left(networks: Path, tmp_path: Path) -> None:
    (price,) = claim_a.prices(["masked"], ["tnbc"], networks, tmp_path, GRID)
    assert price.runs == 2
    assert price.core_hours == pytest.approx(2 * claim_a.FEATURE_RUN_S / 3600)
