"""Results with other classes: what changes, what keeps its bytes, kills, models, questions, the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import wsinuc
from helpers.files.taught import (
    TaughtSlide,
    exported,
    labelled_detections,
    labelled_points,
    labelled_table,
    some_rows,
)
from helpers.runs import tree
from wsinuc import aside, durable, own_files, segmenters
from wsinuc.config import SegmentConfig
from wsinuc.errors import CheckpointError, ConfigError, DamageError, OutputError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.nuclei.neighbours import Neighbourhood
from wsinuc.processes import this_process
from wsinuc.store import iter_nuclei, iter_tables, write_json
from wsinuc.workflows.reclassify import place, write
from wsinuc.workflows.reclassify.ask import next_questions, write_questions
from wsinuc.workflows.reclassify.export import export_model
from wsinuc.workflows.reclassify.learn import LearnConfig, Learned, learn_classes
from wsinuc.workflows.reclassify.marks import read_marks
from wsinuc.workflows.reclassify.tables import ResultTable, open_table
from wsinuc.workflows.reclassify.write import WriteConfig, write_classified
from wsinuc.workflows.segment.run import segment_slide
from wsinuc_cli.commands.classify.command import classify

QUICK = LearnConfig(permutations=0)
IDS = "labels.ome.zarr/labels/nuclei/"
PLAIN = WriteConfig(overwrite=True, slide="gone.tiff")
"""Without pictures, which take the most time."""


@pytest.fixture(scope="module")
def labels(one: TaughtSlide) -> Path:
    return labelled_detections(one, some_rows(one.kinds, 8), one.slide.with_name("labels.geojson"))


@pytest.fixture(scope="module")
def learned(one: TaughtSlide, labels: Path) -> Learned:
    return learn_classes([open_table(one.result)], [read_marks(labels)], QUICK)


@pytest.fixture(scope="module")
def written(one: TaughtSlide, learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "one.wsinuc"
    classified = write_classified(open_table(one.result), learned, out)
    assert classified.notes == ()
    return out


# --- what is written ------------------------------------------------------------------------------------


def test_new_classes_are_everywhere_and_the_segmentation_keeps_its_bytes(
    one: TaughtSlide, learned: Learned, written: Path
):
    assert wsinuc.verify(written).state == "whole"
    estimate = learned.classify(one.table)
    names = [each.name for each in learned.classes]
    expected = [names[k] for k in estimate.indices]
    nuclei = list(iter_nuclei(written))
    assert [part.class_names[k] for part in nuclei for k in part.classes] == expected
    assert np.concatenate([part.class_probabilities for part in nuclei]).tobytes() == estimate.probabilities.tobytes()
    # GeoJSON, with the same outlines and UUIDs.
    before, after = exported(one.result), exported(written)
    assert [each["properties"]["classification"]["name"] for each in after] == expected
    assert [(each["id"], each["geometry"]) for each in after] == [(each["id"], each["geometry"]) for each in before]
    assert not check_geojson(written / "nuclei.geojson").findings
    # Label images.
    image = zarr.open_array(written / IDS / "0", mode="r")[:]
    kinds = zarr.open_array(written / "labels.ome.zarr/labels/nuclei_class/0", mode="r")[:]
    assert np.array_equal(kinds, np.append(0, estimate.indices + 1)[image])
    old, new = tree(one.result), tree(written)
    assert {name: new[name] for name in new if name.startswith(IDS)} == {
        name: old[name] for name in old if name.startswith(IDS)
    }
    summary = json.loads((written / "summary.json").read_text())
    assert summary["counts"] == {name: expected.count(name) for name in names}
    assert summary["original_counts"] == {"Nucleus": len(expected)}
    report = (written / "report.html").read_text()
    assert all(name in report for name in names)
    assert "classes were learned from 16 labelled nuclei" in report


def test_the_table_keeps_old_classes_and_all_other_columns(one: TaughtSlide, written: Path):
    for old, new in zip(iter_tables(one.result), iter_tables(written), strict=True):
        assert new["original_class"].to_pylist() == ["Nucleus"] * new.num_rows
        same = [name for name in old.column_names if name not in ("class", "probability_Nucleus")]
        assert new.select(same).equals(old.select(same))


def test_neighbours_are_measured_by_the_new_classes(one: TaughtSlide, learned: Learned, written: Path):
    nuclei = wsinuc.read(written).nuclei()
    centroids = np.column_stack([nuclei["y_px"].to_numpy(), nuclei["x_px"].to_numpy()])
    classes = learned.classify(one.table).indices
    around = Neighbourhood(centroids, classes, [each.name for each in learned.classes], 0.5)
    for name, values in around.columns(0, len(classes)).items():
        assert np.array_equal(nuclei[name].to_numpy(), values, equal_nan=True), name


def test_taught_again_the_first_classes_stay(one: TaughtSlide, learned: Learned, written: Path, tmp_path: Path):
    names = ("Lymphocyte", "Stroma")
    labels = labelled_detections(one, some_rows(one.kinds, 5), tmp_path / "l.geojson", names)
    table = open_table(written)
    again = learn_classes([table], [read_marks(labels)], QUICK)
    again = write_classified(table, again, tmp_path / "again.wsinuc", PLAIN)
    assert set(again.counts) == set(names)
    part = next(iter_tables(again.folder))
    assert set(part["original_class"].to_pylist()) == {"Nucleus"}
    assert not [name for name in part.column_names if "Round" in name]
    assert wsinuc.verify(again.folder).state == "whole"


def test_without_the_slide_there_are_no_pictures_and_a_note(one: TaughtSlide, learned: Learned, tmp_path: Path):
    out = tmp_path / "one.wsinuc"
    classified = write_classified(open_table(one.result), learned, out, PLAIN)
    assert "the slide is needed" in classified.notes[0]
    assert sorted(path.name for path in out.iterdir()) == [
        "labels.ome.zarr",
        "nuclei",
        "nuclei.geojson",
        "summary.json",
    ]
    assert wsinuc.verify(out).state == "whole"


# --- whole or not at all ------------------------------------------------------------------------------------


@pytest.fixture
def copied(one: TaughtSlide, tmp_path: Path) -> Path:
    out = tmp_path / "one.wsinuc"
    shutil.copytree(one.result, out)
    return out


def test_a_result_is_replaced_only_when_asked_and_at_one_blow(copied: Path, learned: Learned):
    (copied / "notes.txt").write_text("mine")
    (copied / "labels.ome.zarr/.DS_Store").write_text("a Mac was here")
    table = open_table(copied)
    with pytest.raises(OutputError, match="--overwrite"):
        write_classified(table, learned, copied)
    write_classified(table, learned, copied, PLAIN)
    assert wsinuc.verify(copied).state == "whole"
    assert (copied / "notes.txt").read_text() == "mine"
    assert [path.name for path in copied.parent.iterdir()] == ["one.wsinuc"]


@pytest.mark.parametrize("step", ["_write_table", "_write_geojson", "_write_pictures"])
def test_a_classify_that_dies_leaves_the_old_result(copied: Path, learned: Learned, monkeypatch, step: str):
    before = tree(copied)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write._Job, step, die)
    with pytest.raises(KeyboardInterrupt):
        write_classified(open_table(copied), learned, copied, PLAIN)
    assert tree(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == ["one.wsinuc"]


def test_folders_exchange_their_names(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    if not durable.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert ((tmp_path / "a/file").read_text(), (tmp_path / "b/file").read_text()) == ("b", "a")


def test_where_names_cannot_be_exchanged_the_old_result_moves_away(copied: Path, learned: Learned, monkeypatch):
    monkeypatch.setattr(durable, "exchange", lambda one, other: False)
    write_classified(open_table(copied), learned, copied, PLAIN)
    assert wsinuc.verify(copied).state == "whole"
    assert [path.name for path in copied.parent.iterdir()] == ["one.wsinuc"]


DEAD = this_process() | {"born": -1}
"""The sign of a process whose number has been given to another one since."""


def killed_while_writing(table: ResultTable, learned: Learned, out: Path, monkeypatch) -> Path:
    """The folder that a process leaves which is killed while it writes."""
    kept: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(aside, "this_process", lambda: DEAD)
        patch.setattr(place, "_settle", lambda folder, _: kept.append(folder))
        patch.setattr(write._Job, "_write_geojson", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_classified(table, learned, out, PLAIN)
    return kept[0]


def test_what_a_killed_process_has_left_goes_with_the_next_one(copied: Path, learned: Learned, monkeypatch):
    left = killed_while_writing(open_table(copied), learned, copied, monkeypatch)
    assert {path.name for path in copied.parent.iterdir()} == {"one.wsinuc", left.name}
    # Of a process that is at work, and of another machine.
    others = [own_files.beside(copied) for _ in range(2)]
    for folder, sign in zip(others, (this_process(), this_process() | {"host": "elsewhere"}), strict=True):
        folder.mkdir()
        write_json(sign, folder / aside.WRITER)
    assert aside.left_behind(copied) == [left]
    write_classified(open_table(copied), learned, copied, PLAIN)
    assert {path.name for path in copied.parent.iterdir()} == {"one.wsinuc", *(other.name for other in others)}
    assert wsinuc.verify(copied).state == "whole"


def test_a_process_killed_between_two_names_loses_nothing(copied: Path, learned: Learned, monkeypatch):
    (copied / "notes.txt").write_text("mine")
    left = killed_while_writing(open_table(copied), learned, copied, monkeypatch)
    copied.rename(left / aside.REPLACED)
    assert aside.left_behind(copied) == [left]
    with place.made_aside(copied):
        # Back under its name before anything else is done.
        assert wsinuc.verify(copied).state == "whole"
        assert (copied / "notes.txt").read_text() == "mine"
    assert [path.name for path in copied.parent.iterdir()] == ["one.wsinuc"]


def test_users_files_move_on_when_a_process_is_killed_after_the_exchange(copied: Path, learned: Learned, monkeypatch):
    left = killed_while_writing(open_table(copied), learned, copied, monkeypatch)
    (left / place.RESULT / "notes.txt").write_text("mine")
    with place.made_aside(copied):
        assert (copied / "notes.txt").read_text() == "mine"


def test_a_damaged_result_is_not_copied(copied: Path, learned: Learned, tmp_path: Path):
    table = open_table(copied)
    chunk = next(path for path in (copied / IDS).rglob("c/0/0"))
    content = bytearray(chunk.read_bytes())
    content[50] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(DamageError, match="not the file that was written"):
        write_classified(table, learned, tmp_path / "new.wsinuc")
    assert not (tmp_path / "new.wsinuc").exists()


# --- models ---------------------------------------------------------------------------------------------------


def test_the_exported_model_gives_the_classes_that_classify_gave(
    one: TaughtSlide, learned: Learned, written: Path, base: Path, tmp_path: Path
):
    model = tmp_path / "model.safetensors"
    export_model([open_table(one.result)], learned, model)
    config = SegmentConfig(model=str(model), mpp=0.5, tissue="none", block=256, measure="all", image="none")
    segment_slide(one.slide, tmp_path / "new.wsinuc", config)
    mine = wsinuc.read(tmp_path / "new.wsinuc").nuclei().sort_by([("y", "ascending"), ("x", "ascending")])
    theirs = wsinuc.read(written).nuclei().sort_by([("y", "ascending"), ("x", "ascending")])
    columns = [name for name in mine.column_names if name not in ("id", "uuid")]
    assert set(theirs.column_names) - set(mine.column_names) == {"original_class"}
    for name in columns:
        assert mine[name].combine_chunks().equals(theirs[name].combine_chunks()), name
    with pytest.raises(ConfigError, match="--measure shape,stain,texture,neighbours"):
        segment_slide(one.slide, tmp_path / "less.wsinuc", SegmentConfig(model=str(model), mpp=0.5, tissue="none"))
    # A result of this model can be taught again: the model below it stays.
    again = open_table(tmp_path / "new.wsinuc")
    export_model([again], learned, tmp_path / "again.safetensors")
    assert segmenters.load_segmenter(str(tmp_path / "again.safetensors")).identity == (
        segmenters.load_segmenter(str(model)).identity
    )


def test_a_model_is_exported_with_the_model_that_segmented(one: TaughtSlide, learned: Learned, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"not the model that segmented .*--model"):
        export_model([open_table(one.result)], learned, tmp_path / "m.safetensors", model="fast")
    with pytest.raises(CheckpointError, match=r"is not at gone\.safetensors.*--model where it is now"):
        export_model([open_table(one.result)], learned, tmp_path / "m.safetensors", model="gone.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_for_results(one: TaughtSlide, labels: Path, tmp_path: Path):
    taken = tmp_path / "file"
    taken.touch()
    run = CliRunner().invoke(classify, [str(one.result), "--labels", str(labels), "-o", str(taken)])
    assert isinstance(run.exception, OutputError)
    assert str(run.exception) == f"cannot write into {taken} (it is no folder): choose another one"


def test_nothing_is_written_into_a_finished_result(known, labels: Path):
    one, two = known
    before = tree(two.result)
    refused = run(one.result, two.result, "--labels", labels, "--folds", 0, "-o", two.result, "--overwrite")
    assert isinstance(refused.exception, OutputError)
    assert "lies in the result two.wsinuc, whose files are sealed" in str(refused.exception)
    assert tree(two.result) == before


# --- questions --------------------------------------------------------------------------------------------------


def test_questions_are_doubtful_unlabelled_and_open_in_qupath(one: TaughtSlide, learned: Learned, tmp_path: Path):
    table = open_table(one.result)
    questions = next_questions([table], learned, 5)
    assert questions == next_questions([table], learned, 5)
    assert len({question.uuid for question in questions}) == 5
    assert not {question.id for question in questions} & set(learned.labelled.ids.tolist())
    ordered = np.sort(learned.classify(one.table).probabilities, axis=1)
    doubts = 1 - (ordered[:, -1] - ordered[:, -2])
    assert min(question.doubt for question in questions) > np.median(doubts)
    write_questions(table, questions, tmp_path / "ask.geojson")
    report = check_geojson(tmp_path / "ask.geojson")
    assert not report.findings
    features = json.loads((tmp_path / "ask.geojson").read_text())["features"]
    assert {feature["id"] for feature in features} == {question.uuid for question in questions}
    assert all("classification" not in feature["properties"] for feature in features)
    # Given classes and read again, they are labels.
    for feature, name in zip(features, "ababa", strict=True):
        feature["properties"]["classification"] = {"name": name}
    (tmp_path / "answers.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert len(learn_classes([table], [read_marks(tmp_path / "answers.geojson")], QUICK).labelled) == 5


# --- the command ----------------------------------------------------------------------------------------------


def run(*words: object):
    return CliRunner().invoke(classify, [str(word) for word in words])


def test_the_command_writes_results_models_and_questions(one: TaughtSlide, labels: Path, tmp_path: Path):
    out = tmp_path / "out"
    model = tmp_path / "model.safetensors"
    words = ("-o", out, "--no-report", "--export", model, "--ask", 4, "--permutations", 2)
    done = run(one.result, "--labels", labels, *words)
    assert done.exit_code == 0, done.output
    assert "16 labels give 16 nuclei a class" in done.output
    assert "balanced accuracy" in done.output
    assert "After the classes were shuffled" in done.output
    assert wsinuc.verify(out / "one.wsinuc").state == "whole"
    assert model.exists()
    assert len(json.loads((out / "one.ask.geojson").read_text())["features"]) == 4
    summary = json.loads((out / "one.wsinuc/summary.json").read_text())["classified"]
    assert summary["labelled"] == {"Round": 8, "Long": 8}
    assert summary["labels"][0]["file"] == "labels.geojson"
    only = run(one.result, "--labels", labels, "--folds", 0)
    assert only.exit_code == 0
    assert "Nothing was written" in only.output


def test_the_command_tells_its_two_kinds_of_arguments_apart(one: TaughtSlide, labels: Path, tmp_path: Path):
    assert (
        "is a result of wsinuc segment: say which class a few of its nuclei have" in run(one.result, "-o", "m").output
    )
    assert "--where goes with DATA" in run(one.result, "--labels", labels, "--where", "a=b").output
    assert "--ask goes with RESULT" in run(tmp_path, "--ask", 3, "-o", "m.safetensors").output
    assert "give the checkpoint to write with -o" in run(tmp_path).output


def test_other_labels_give_the_same_nuclei(one: TaughtSlide, tmp_path: Path):
    rows = some_rows(one.kinds, 3)
    points = run(one.result, "--labels", labelled_points(one, rows, tmp_path / "p.geojson"), "--folds", 0)
    table = run(one.result, "--labels", labelled_table(one, rows, tmp_path / "t.csv"), "--folds", 0)
    assert points.output == table.output
