"""Claims B and C in their tiny form: the gate, the judge, chains of commands, margins and windows on disk."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "claims"))
import claim_b
import claim_c
import labelled_sets
import pair_grid
import stages
import tables
from labelled_sets import LabelledSet
from PIL import Image
from records import read_records, write_record

from helpers.discs import square
from wsinuc.datasets import open_dataset
from wsinuc_cli.main import main


@pytest.fixture(scope="module")
def data() -> LabelledSet:
    return LabelledSet("discs", ("Nucleus",), True, [square(i, f"image{i}") for i in range(6)], [square(9, "test")])


RUN = pair_grid.PairRun(data="discs", judge="unet", count=2, pairs="made", augmentation="plain", share=0.5, seed=0)


@pytest.mark.slow
def test_a_judge_learns_from_windows_and_pairs(data: LabelledSet) -> None:
    judge = pair_grid.Judge(base=4, crop=32, batch=2, steps=4, every=2)
    record = pair_grid.judged(RUN, data, [square(20, "made")], judge)
    assert 0 <= record["aji"] <= record["dice"] <= 1
    assert record["gained_to_the_end"] == (record["best_step"] == 4)


def test_a_run_of_a_judge_is_done_once_and_again_for_other_pairs(
    data: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def result(run: pair_grid.PairRun, data: LabelledSet, pairs: list, judge: pair_grid.Judge) -> dict:
        judged.append(len(pairs))
        return run.record | {"aji": 0.5, "train_cpu_s": 0.0}

    monkeypatch.setattr(pair_grid, "judged", result)

    def done(pairs: int, stop: bool = False) -> bool:
        made = [square(20 + i, "made") for i in range(pairs)]
        return pair_grid.do_runs(
            [RUN], data, tmp_path, pair_grid.Judge(), lambda run: (made, {"pairs": pairs}), lambda: stop
        )

    assert done(1)
    assert done(1)
    assert not done(2, stop=True)
    assert done(2)
    assert judged == [1, 2]
    assert read_records(tmp_path)[0]["inputs"]["pairs"] == {"pairs": 2}


def test_the_gate_asks_for_two_standard_deviations() -> None:
    assert pair_grid.gate([0.50, 0.52], [0.55, 0.57])
    assert not pair_grid.gate([0.50, 0.54], [0.55, 0.57])
    assert not pair_grid.gate([0.5], [0.9])


def test_a_stage_is_done_once_and_again_when_its_words_or_inputs_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run(words: list[str], check: bool) -> None:
        calls.append(words[3:])
        (tmp_path / "out").write_text("made")

    monkeypatch.setattr(stages, "subprocess", SimpleNamespace(run=run))
    source = tmp_path / "source"
    source.write_text("first")
    stage = stages.Stage(words=("pretrain", "x"), output=tmp_path / "out", reads=(source,))
    for each in (stage, stage, replace(stage, words=("pretrain", "y"))):
        assert stages.run_stages([each], lambda: False)
    source.write_text("second")
    assert not stages.run_stages([replace(stage, words=("pretrain", "y"))], lambda: True)
    assert stages.run_stages([replace(stage, words=("pretrain", "y"))], lambda: False)
    assert calls == [["pretrain", "x"], ["pretrain", "y"], ["pretrain", "y"]]


@pytest.mark.parametrize("gain", [0.02, 0.2])
def test_generators_are_trained_only_for_a_set_that_passes_the_gate(
    gain: float, data: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def runs(runs: list[pair_grid.PairRun], data: LabelledSet, out: Path, *more: object) -> bool:
        for run in runs:
            aji = 0.5 + 0.01 * run.seed + (gain if run.count == claim_b.MANY else 0)
            write_record(out / run.file, run.record | {"aji": aji})
        return True

    monkeypatch.setattr(claim_b, "do_runs", runs)
    monkeypatch.setattr(claim_b, "run_stages", lambda stages, stop: bool(trained.append(len(stages))) or True)
    monkeypatch.setattr(claim_b, "step_flops", lambda: dict.fromkeys(claim_b.STEPS, 1.0))
    monkeypatch.setitem(claim_b.SETS, "discs", lambda folder, cache: data)
    options = claim_b.Options(data=tmp_path, work=tmp_path / "work", out=tmp_path / "out", sets=["discs"])
    claim_b.run_set("discs", options, lambda: False)
    assert len(trained) == (5 if gain > 0.1 else 0)


def test_windows_on_disk_are_a_data_set_with_tissue_and_resolution(data: LabelledSet, tmp_path: Path) -> None:
    claim_b.write_windows(tmp_path, data.pool[:2])
    first = open_dataset(tmp_path)[0]
    np.testing.assert_array_equal(first.labels, data.pool[0].labels)
    assert (first.mpp, first.attributes["tissue"]) == (0.25, "breast")


def test_margins_are_cut_off_pairs() -> None:
    (pair,) = pair_grid.without_margin([square(0, "made")], 16)
    assert pair.labels.shape == (32, 32)


def test_pairs_are_made_of_the_windows_of_their_own_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_b, "step_flops", lambda: dict.fromkeys(claim_b.STEPS, 1.0))
    options = claim_b.Options(data=tmp_path, work=tmp_path / "work", out=tmp_path, sets=["tnbc"])
    made = {seed: claim_b.generator_stages("tnbc", seed, options) for seed in (0, 1)}
    assert made[0][0].output == made[1][0].output, "the denoiser knows no window"
    assert {stage.output.parent.name for stage in made[1][1:]} == {"tnbc-1"}
    assert all(stage.flops > 0 for stage in made[0])
    runs = claim_b.pair_runs("tnbc", options)
    assert len(runs) == len(set(runs)) == 5 * 5


@pytest.mark.parametrize("claim", ["b", *claim_c.VARIANTS])
def test_every_command_of_a_chain_has_options_that_there_are(
    claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_b, "step_flops", lambda: dict.fromkeys(claim_b.STEPS, 1.0))
    monkeypatch.setattr(claim_c, "joint_cost", lambda: SimpleNamespace(flops_per_step=1.0))
    if claim == "b":
        options = claim_b.Options(data=tmp_path, work=tmp_path, out=tmp_path, sets=["tnbc"])
        chain = claim_b.generator_stages("tnbc", 0, options)
    else:
        joint = claim_c.Options(data=tmp_path, work=tmp_path, out=tmp_path, name="tnbc", features=tmp_path / "fid")
        chain = [*claim_c.generator_stages(claim, joint), *claim_c.generator_stages(claim, claim_c.tiny(joint))]
    for stage in chain:
        command = main.get_command(click.Context(main), stage.words[0])
        assert command is not None
        # Values are not looked at, for no file is there; an unknown option raises.
        command.make_parser(click.Context(command)).parse_args(list(stage.words[1:]))


def test_a_generator_without_points_is_given_no_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_c, "joint_cost", lambda: SimpleNamespace(flops_per_step=1.0))
    options = claim_c.Options(data=tmp_path, work=tmp_path, out=tmp_path, name="tnbc")
    full, blind = (claim_c.generator_stages(variant, options) for variant in ("full", "points"))
    assert [stage.words[0] for stage in full] == ["pretrain", "synthesize", "compare", "synthesize"]
    assert [stage.words[0] for stage in blind] == ["pretrain", "synthesize", "compare"]
    assert "--layout" in full[1].words
    assert "--layout" not in blind[1].words
    assert blind[0].words[blind[0].words.index("--without") + 1] == "points"


def test_diversity_is_nothing_for_one_image_again_and_again() -> None:
    image = square(0, "made")
    assert claim_c.diversity([image, image]) == 0
    assert claim_c.diversity([image, square(1, "made")]) > 1


def distance(value: float) -> dict[str, float]:
    return {"value": value, "same_n": value, "floor": value / 4, "floor_sd": 0.0}


def test_likeness_and_diversity_of_all_variants_are_in_the_tables() -> None:
    compared = {
        "network": {"name": "inception"},
        "distances": {"frechet": distance(40.0), "kernel": distance(0.04), "fsd": distance(2.0)},
        "inception_score": {"synthetic": 2.25},
        "alignment": {"synthetic": {"aji": 0.5}},
    }
    whole = {"images": 30.0, "one_layout": 20.0, "real": 40.0}
    records = [
        {"data": "tnbc", "variant": "points", "steps": 9, "diversity": {"images": 10.0, "real": 40.0}},
        {"data": "tnbc", "variant": "full", "steps": 9, "diversity": whole},
    ]
    drawn = tables.tables_of_c([record | {"comparison": compared} for record in records])
    assert drawn["likeness"].splitlines()[2:] == [
        f"| tnbc | {name} | 9 | inception | 40 (10) | 0.04 (0.01) | 2 (0.5) | 2.25 | 0.500 |"
        for name in ("as it is", "without points")
    ]
    assert drawn["diversity"].splitlines()[2:] == [
        "| tnbc | as it is | 20.0 | 30.0 | 40.0 |",
        "| tnbc | without points |  | 10.0 | 40.0 |",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_claim_c_runs_in_its_tiny_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From windows to the tables of the page, by the commands that a user would type."""
    squares = [square(i, f"image{i}") for i in range(claim_c.MANY + pair_grid.VALIDATION)]
    small = LabelledSet("discs", ("Nucleus",), True, squares, [square(99, "test")])
    monkeypatch.setitem(claim_c.SETS, "tnbc", lambda folder, cache: small)
    (tmp_path / "tnbc").mkdir()
    words = ["claim_c.py", tmp_path, tmp_path / "work", tmp_path / "out", "--tiny", "--variants", "full,points,text"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    claim_c.main()
    records = read_records(tmp_path / "out" / "tiny")
    assert not list((tmp_path / "out").glob("*.json")), "nothing that could be taken for a result"
    drawn = tables.tables_of_c(records)
    assert len(drawn["likeness"].splitlines()) == len(drawn["diversity"].splitlines()) == 2 + 3
    assert len(drawn["pairs"].splitlines()) == 2 + 4


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_claim_b_runs_in_its_tiny_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squares = [square(i, f"image{i}") for i in range(claim_b.MANY + pair_grid.VALIDATION)]
    small = LabelledSet("tnbc", ("Nucleus",), True, squares, [square(99, "test")])
    monkeypatch.setitem(claim_b.SETS, "tnbc", lambda folder, cache: small)
    for name in (*claim_b.PIXELS, "tnbc"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.tile(square(0, name).image, (2, 2, 1))).save(tmp_path / name / "tissue.png")
    words = ["claim_b.py", tmp_path, tmp_path / "work", tmp_path / "out", "--tiny", "--sets", "tnbc"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    claim_b.main()
    drawn = tables.tables_of_b(read_records(tmp_path / "out" / "tiny"))
    assert len(drawn["pairs"].splitlines()) == 2 + 5


def test_a_set_that_is_not_there_is_said_before_anything_costs(tmp_path: Path) -> None:
    (tmp_path / "tnbc").mkdir()
    labelled_sets.require_folders(tmp_path, ["tnbc"])
    with pytest.raises(SystemExit, match=r"no folder nuinsseg and no oral: .*README\.md"):
        labelled_sets.require_folders(tmp_path, ["tnbc", "nuinsseg", "oral", "oral"])
