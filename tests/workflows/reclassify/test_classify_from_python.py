"""`wsinuc.classify`: labels in any form, and results, images, a model and questions from what was learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wsinuc
from helpers.files.point_sets import MPP
from helpers.files.taught import KINDS, TaughtSlide, labelled_points, labelled_table, some_rows
from wsinuc.errors import ConfigError, DataError, OutputError


@pytest.fixture(scope="module")
def labels(one: TaughtSlide) -> dict[str, str]:
    """Classes of some nuclei by their UUIDs."""
    rows = some_rows(one.kinds, 8).tolist()
    return {one.table["uuid"][row].as_py(): KINDS[one.kinds[row]] for row in rows}


@pytest.fixture(scope="module")
def learned(one: TaughtSlide, labels: dict[str, str]) -> wsinuc.LearnedClasses:
    return wsinuc.classify(one.result, labels, folds=3, permutations=0)


def test_labels_come_as_files_or_by_uuid(one: TaughtSlide, learned: wsinuc.LearnedClasses, tmp_path: Path) -> None:
    rows = some_rows(one.kinds, 8)
    table = labelled_table(one, rows, tmp_path / "labels.csv")
    by_file = wsinuc.classify([wsinuc.read(one.result)], [str(table)], folds=3, permutations=0)
    assert by_file.labels == learned.labels
    assert set(learned.names) == set(KINDS)
    assert repr(learned).startswith("<wsinuc.LearnedClasses ")
    assert "16 labelled nuclei, balanced accuracy" in repr(learned)
    points = labelled_points(one, rows, tmp_path / "points.geojson")
    unscored = wsinuc.classify(one.result, points, folds=0)
    assert (unscored.scores, unscored.labels.nuclei) == (None, 16)
    assert "not scored" in repr(unscored)


def test_a_result_with_the_classes_is_read_back(
    one: TaughtSlide, learned: wsinuc.LearnedClasses, tmp_path: Path
) -> None:
    result = learned.write(one.result, tmp_path / "new" / "one.wsinuc", report=False)
    assert sum(result.counts.values()) == len(one.kinds) == len(result)
    names = [KINDS[kind] for kind in one.kinds]
    agree = np.mean(np.array(result.nuclei()["class"].to_pylist()) == np.array(names))
    assert agree > 0.95
    assert json.loads((result.folder / "summary.json").read_text())["classified"]["labels"] == [{"given": 16}]
    with pytest.raises(OutputError, match="holds a result already"):
        learned.write(one.result, result.folder)


def test_a_model_an_image_and_the_result_have_the_same_classes(
    one: TaughtSlide, learned: wsinuc.LearnedClasses, base: Path, tmp_path: Path
) -> None:
    model = learned.save_model(tmp_path / "kinds.safetensors", model=base)
    with wsinuc.open_slide(one.slide, mpp=MPP) as slide:
        pixels = slide.read(wsinuc.Box(0, 0, 320, 320))
    given = {"mpp": MPP, "measure": "all"}
    plain = wsinuc.segment_image(pixels, model=base, **given)
    named = learned.apply(plain)
    by_model = wsinuc.segment_image(pixels, model=model, **given)
    assert named.counts == by_model.counts
    assert np.array_equal(named.nuclei.class_probabilities, by_model.nuclei.class_probabilities)
    assert np.array_equal(named.labels, plain.labels)
    assert not [name for name in named.nuclei.measurements if name.endswith(plain.nuclei.class_names)]
    with pytest.raises(DataError, match=r"the image lacks measurements that these classes are told apart by \("):
        learned.apply(wsinuc.segment_image(pixels, mpp=MPP, model=base))


def test_a_result_that_was_measured_otherwise_is_refused(
    one: TaughtSlide, learned: wsinuc.LearnedClasses, tmp_path: Path
) -> None:
    [table] = learned.tables
    other = replace(table, summary={"settings": {"stains": "ruifrok"}})
    elsewhere = replace(learned, tables=(other,))
    with pytest.raises(DataError, match="measured with the stain vectors qupath, and what was learned from with ruif"):
        elsewhere.write(one.result, tmp_path / "one.wsinuc")
    assert not (tmp_path / "one.wsinuc").exists()


def test_nuclei_to_label_next_are_written_for_qupath(learned: wsinuc.LearnedClasses, tmp_path: Path) -> None:
    questions = learned.ask(5, out=tmp_path / "asked")
    content = json.loads((tmp_path / "asked" / "one.ask.geojson").read_text())
    assert {feature["id"] for feature in content["features"]} == {question.uuid for question in questions}
    assert learned.ask(5) == questions


def test_what_cannot_be_classified_is_said(one: TaughtSlide, labels: dict[str, str]) -> None:
    image = wsinuc.segment_image(np.full((64, 64, 3), 240, np.uint8), mpp=0.25, model="student", device="cpu")
    with pytest.raises(ConfigError, match="gets classes with the apply of what classify returns"):
        wsinuc.classify(image, labels)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"got 3 \(int\) for 'a' \(str\)"):
        wsinuc.classify(one.result, {"a": 3})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="2 of 2 labels are of no nucleus"):
        wsinuc.classify(one.result, {"a": "Round", "b": "Long"})
