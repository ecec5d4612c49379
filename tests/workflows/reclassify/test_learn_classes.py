"""Classes from a few labels: which nuclei labels name, what is learned, what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.files.annotations import drawn, polygon, square
from helpers.files.taught import (
    KINDS,
    TaughtSlide,
    exported,
    labelled_detections,
    labelled_points,
    labelled_table,
    make_slide,
    some_rows,
    write_features,
)
from wsinuc.errors import DataError
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.nuclei.class_features import FeatureColumns, Moments
from wsinuc.workflows.classify.cross_validate import assign_folds
from wsinuc.workflows.reclassify.gather import LabelCounts, LabelledNuclei, gather
from wsinuc.workflows.reclassify.held_out import held_out_scores
from wsinuc.workflows.reclassify.learn import LearnConfig, learn_classes
from wsinuc.workflows.reclassify.marks import read_marks
from wsinuc.workflows.reclassify.tables import open_table, open_tables

QUICK = LearnConfig(permutations=3)


def learned_from(slide: TaughtSlide, *files: Path, config: LearnConfig = QUICK):
    return learn_classes([open_table(slide.result)], [read_marks(path) for path in files], config)


def accuracy(slide: TaughtSlide, learned) -> float:
    estimate = learned.classify(slide.table)
    names = np.array([each.name for each in learned.classes])[estimate.indices]
    return float((names == np.array(KINDS)[slide.kinds]).mean())


# --- which nuclei ------------------------------------------------------------------------------------


def test_detections_points_and_tables_name_the_same_nuclei(one: TaughtSlide, tmp_path: Path):
    rows = some_rows(one.kinds, 6)
    files = [
        labelled_detections(one, rows, tmp_path / "a.geojson"),
        labelled_points(one, rows, tmp_path / "b.geojson"),
        labelled_table(one, rows, tmp_path / "c.csv"),
    ]
    for file in files:
        labelled = gather([open_table(one.result)], [read_marks(file)])
        assert labelled.ids.tolist() == one.table["id"].to_numpy()[rows].tolist()
        names = [labelled.names[k] for k in labelled.classes]
        assert names == [KINDS[k] for k in one.kinds[rows]]
        assert labelled.counts.unmatched == 0
        assert labelled.counts.labels == labelled.counts.nuclei == 12


def test_an_annotation_labels_the_nuclei_in_it_and_a_point_corrects_it(one: TaughtSlide, tmp_path: Path):
    around = {"type": "Polygon", "coordinates": [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]}
    drawn = {"type": "Feature", "geometry": around, "properties": {"classification": {"name": "Left"}}}
    x, y = one.table["x"].to_numpy(), one.table["y"].to_numpy()
    inside = np.flatnonzero((x < 100) & (y < 100))
    outside = np.flatnonzero((x > 200) & (y > 200))[:2]
    points = [[x[row], y[row]] for row in (inside[0], *outside)]
    dot = {
        "type": "Feature",
        "geometry": {"type": "MultiPoint", "coordinates": points},
        "properties": {"classification": {"name": "Dot"}},
    }
    star = {**drawn, "properties": {"classification": {"name": "Ignore*"}}}
    file = read_marks(write_features(tmp_path / "l.geojson", [drawn, dot, star]))
    assert file.starred == 1
    labelled = gather([open_table(one.result)], [file])
    by_id = dict(zip(labelled.ids.tolist(), (labelled.names[k] for k in labelled.classes), strict=True))
    ids = one.table["id"].to_numpy()
    assert by_id[ids[inside[0]]] == "Dot"
    assert [by_id[each] for each in ids[inside[1:]]] == ["Left"] * (len(inside) - 1)
    assert len(by_id) == len(inside) + 2


def test_of_an_export_of_all_detections_the_changed_ones_count(one: TaughtSlide, tmp_path: Path):
    rows = some_rows(one.kinds, 3)
    changed = {one.table["uuid"][row].as_py(): KINDS[one.kinds[row]] for row in rows.tolist()}
    features = exported(one.result)
    for feature in features:
        if feature["id"] in changed:
            feature["properties"]["classification"] = {"name": changed[feature["id"]]}
    labelled = gather([open_table(one.result)], [read_marks(write_features(tmp_path / "all.geojson", features))])
    assert labelled.counts.unchanged == len(features) - 6
    assert len(labelled) == 6


def test_a_later_file_corrects_an_earlier_one_and_contradictions_are_left_out(one: TaughtSlide, tmp_path: Path):
    rows = some_rows(one.kinds, 4)
    first = labelled_table(one, rows, tmp_path / "a.csv")
    uuid = one.table["uuid"][int(rows[0])].as_py()
    second = tmp_path / "b.csv"
    second.write_text(f"uuid;class\n{uuid};{KINDS[1 - one.kinds[rows[0]]].lower()}\n")
    labelled = gather([open_table(one.result)], [read_marks(first), read_marks(second)])
    # The name differs in its case alone.
    assert set(labelled.names) == set(KINDS)
    other = KINDS[1 - one.kinds[rows[0]]]
    assert labelled.names[labelled.classes[0]] == other
    x, y = one.table["x"][int(rows[0])].as_py(), one.table["y"][int(rows[0])].as_py()
    third = tmp_path / "c.csv"
    third.write_text(f"x,y,class\n{x},{y},Round\n{x + 1},{y},Long\n")
    both = gather([open_table(one.result)], [read_marks(first), read_marks(third)])
    assert both.counts.conflicts == 1
    assert len(both) == 7


def test_labels_of_an_older_segmentation_are_found_by_their_place(one: TaughtSlide, tmp_path: Path):
    path = labelled_detections(one, some_rows(one.kinds, 4), tmp_path / "a.geojson")
    older = path.read_text()
    for row in range(one.table.num_rows):
        uuid = one.table["uuid"][row].as_py()
        older = older.replace(uuid, "00000000" + uuid[8:])
    path.write_text(older)
    assert len(gather([open_table(one.result)], [read_marks(path)])) == 8


def test_other_programs_spellings_of_a_uuid_are_the_same_nucleus(one: TaughtSlide, tmp_path: Path):
    rows = some_rows(one.kinds, 4)
    path = labelled_table(one, rows, tmp_path / "a.csv")
    head, *lines = path.read_text().splitlines()
    uuids, names = zip(*(line.split(",") for line in lines), strict=True)
    path.write_text("\n".join([head, *(f"{{{u.upper()}}},{n}" for u, n in zip(uuids, names, strict=True))]))
    labelled = gather([open_table(one.result)], [read_marks(path)])
    assert labelled.ids.tolist() == one.table["id"].to_numpy()[rows].tolist()


def test_a_nucleus_that_stands_twice_is_none_without_a_nucleus(one: TaughtSlide, tmp_path: Path):
    path = labelled_table(one, some_rows(one.kinds, 4), tmp_path / "a.csv")
    path.write_text(path.read_text() + path.read_text().partition("\n")[2])
    labelled = gather([open_table(one.result)], [read_marks(path)])
    assert (len(labelled), labelled.counts.unmatched) == (8, 0)


# --- learning ------------------------------------------------------------------------------------------


def test_a_few_labels_name_all_nuclei_and_cross_validation_tells(one: TaughtSlide, tmp_path: Path):
    learned = learned_from(one, labelled_detections(one, some_rows(one.kinds, 8), tmp_path / "a.geojson"))
    assert accuracy(one, learned) > 0.97
    held_out = learned.held_out
    assert held_out.apart == "regions"
    assert held_out.scores.confusion.sum() == 16
    assert held_out.scores.balanced_accuracy > 0.9 > held_out.chance
    assert {each.name: each.color for each in learned.classes} == {"Round": (10, 20, 30), "Long": (200, 100, 0)}


def test_slides_are_held_out_where_there_are_several(known, tmp_path: Path):
    one, two = known
    files = [
        labelled_points(one, some_rows(one.kinds, 6), tmp_path / "one.labels.geojson"),
        labelled_table(two, some_rows(two.kinds, 6), tmp_path / "anything.csv"),
    ]
    learned = learn_classes(open_tables([one.result, two.result]), [read_marks(path) for path in files], QUICK)
    assert learned.held_out.apart == "slides"
    assert learned.held_out.folds == 2
    assert np.bincount(learned.labelled.slides).tolist() == [12, 12]
    assert accuracy(two, learned) > 0.97


@pytest.mark.parametrize("seed", [6, 16, 33, 40])
def test_no_class_is_held_out_as_a_whole(seed: int):
    """Of a class on two slides of twelve nothing is known where both are held out together."""
    rng = np.random.default_rng(seed)
    slides = np.repeat(np.arange(12), rng.integers(4, 30, 12))
    classes = rng.integers(0, 2, len(slides))
    for slide in rng.choice(12, 2, replace=False):
        classes[np.flatnonzero(slides == slide)[:2]] = 2
    rare = classes == 2
    # The seeds are those of sets for which folds of equal size would do it.
    assert len(np.unique(assign_folds(slides, 5, 0)[rare])) == 1
    features = np.eye(3)[classes]
    labelled = LabelledNuclei(
        names=("a", "b", "rare"),
        colors={},
        columns=FeatureColumns(("x", "y", "z")),
        features=features,
        classes=classes,
        slides=slides,
        ids=np.arange(len(slides)),
        xy_um=rng.random((len(slides), 2)),
        moments=Moments.of(features),
        counts=LabelCounts(
            labels=len(slides), nuclei=len(slides), unchanged=0, conflicts=0, outside=0, unmatched=0, distance_um=None
        ),
    )
    measured = held_out_scores(labelled, ClassifierConfig(members=1), folds=5, permutations=0, seed=0)
    assert measured.apart == "slides"
    assert measured.scores.confusion[2].tolist() == [0, 0, rare.sum()]


def test_a_nucleus_gets_its_class_in_any_company(one: TaughtSlide, tmp_path: Path):
    learned = learned_from(one, labelled_table(one, some_rows(one.kinds, 5), tmp_path / "a.csv"))
    whole = learned.classify(one.table)
    alone = learned.classify(one.table.slice(7, 1))
    assert alone.probabilities.tobytes() == whole.probabilities[7:8].tobytes()
    again = learned_from(one, labelled_table(one, some_rows(one.kinds, 5), tmp_path / "a.csv"))
    assert again.classify(one.table).probabilities.tobytes() == whole.probabilities.tobytes()


# --- what is refused --------------------------------------------------------------------------------------


def refused(slide: TaughtSlide, path: Path, *texts: str) -> None:
    with pytest.raises(DataError) as caught:
        gather([open_table(slide.result)], [read_marks(path)])
    for text in texts:
        assert text in str(caught.value)


def test_another_slides_labels_are_refused_with_how_many_and_how_far(one: TaughtSlide, tmp_path: Path):
    rows = some_rows(one.kinds, 5)
    far = labelled_points(one, rows, tmp_path / "far.geojson", shift=5000)
    refused(one, far, "10 of 10 labels are of no nucleus", "µm", "another slide")
    unknown = tmp_path / "unknown.csv"
    unknown.write_text("uuid,class\n" + "".join(f"{k:08d}-0000-5000-8000-000000000000,a\n" for k in range(3)))
    refused(one, unknown, "3 of 3 labels are of no nucleus", "UUIDs")


def test_labels_outside_of_the_region_that_was_segmented_are_left_out(one: TaughtSlide, base: Path, tmp_path: Path):
    roi = write_features(tmp_path / "roi.geojson", [polygon(square(0, 0, 160, 320))])
    part = make_slide(tmp_path, "part", 0, base, roi=roi)
    rows = np.arange(one.table.num_rows)
    inside = one.table["x"].to_numpy() < 160
    for write_labels in (labelled_points, labelled_detections):
        path = write_labels(one, rows, tmp_path / "labels.geojson")
        # Detections are written down as those of another slide, so that their places alone say what they are.
        path.write_text(path.read_text().replace('"id": "', '"id": "0'))
        counts = gather([open_table(part.result)], [read_marks(path)]).counts
        assert counts.labels == len(rows)
        assert abs(counts.outside - (~inside).sum()) <= 2
        assert counts.nuclei >= inside.sum() - 2
        assert f"{counts.outside} of the labels lie outside of the region that was segmented" in str(counts)
    away = labelled_points(one, rows[~inside][5:], tmp_path / "away.geojson", shift=10)
    refused(part, away, f"all {(~inside).sum() - 5} labels lie outside of the region of part.wsinuc that was segmented")
    # A whole slide has nothing outside.
    whole = gather([open_table(one.result)], [read_marks(path)]).counts
    assert (whole.outside, whole.unmatched) == (0, 0)


def test_areas_without_a_nucleus_say_how_far_they_are(one: TaughtSlide, tmp_path: Path):
    areas = [drawn(name, square(x, 5000, x + 20, 5020)) for x, name in ((0, "a"), (100, "b"))]
    refused(one, write_features(tmp_path / "areas.geojson", areas), "2 of 2 labels are of no nucleus", "µm")


def test_classes_that_cannot_be_learned_are_refused(one: TaughtSlide, tmp_path: Path):
    uuids = [one.table["uuid"][row].as_py() for row in range(6)]
    path = tmp_path / "a.csv"
    path.write_text("uuid,class\n" + "\n".join(f"{u},{c}" for u, c in zip(uuids, "aaaaab", strict=True)))
    refused(one, path, "the class b has a single labelled nucleus")
    path.write_text("uuid,class\n" + "\n".join(f"{u},{c}" for u, c in zip(uuids, "abcdef", strict=True)))
    refused(one, path, "6 classes for 6 labelled nuclei")
    path.write_text("uuid,class\n" + "\n".join(f"{u},a" for u in uuids))
    refused(one, path, "two classes to tell apart")
    path.write_text("uuid,class\n" + "\n".join(f"{u},{c}: x" for u, c in zip(uuids, "aaabbb", strict=True)))
    refused(one, path, "refused or misread by QuPath")
    path.write_text("uuid,class\n" + "\n".join(f"{u},{c * 101}" for u, c in zip(uuids, "aaabbb", strict=True)))
    refused(one, path, "the labels: a class is named by up to 100 printable characters")


def test_files_without_labels_are_refused(one: TaughtSlide, tmp_path: Path):
    bare = [{**feature, "properties": {}} for feature in exported(one.result)[:3]]
    with pytest.raises(DataError, match=r"no nucleus with a class in it \(3 objects without a class"):
        read_marks(write_features(tmp_path / "bare.geojson", bare))
    path = tmp_path / "a.csv"
    path.write_text("name,kind\na,b\n")
    with pytest.raises(DataError, match="columns uuid and class, or x, y and class, got name, kind"):
        read_marks(path)
    for content, says in (
        (b"x,y,class\n1,nan,a\n", r"line 2: expected a uuid, or numbers for x and y: 1, nan, a"),
        ("x,y,class\n1,2,T\xfcmor\n".encode("latin-1"), "no UTF-8 text"),
        (b"II*\0\x08\0\0\0", "no UTF-8 text"),
        (b"x,y,class\n1,2,\n3,4,a*\n", r"\(1 rows without a class, 1 with one that ends with \*\): fill the column"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=says):
            read_marks(path)
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_marks(tmp_path / "none.csv")
    unchanged = write_features(tmp_path / "same.geojson", exported(one.result))
    refused(one, unchanged, "have the class that the result gave them")


def test_points_of_several_results_have_to_say_which(known, tmp_path: Path):
    one, two = known
    path = labelled_points(one, some_rows(one.kinds, 3), tmp_path / "labels.geojson")
    with pytest.raises(DataError, match=r"name the file after its slide, such as one\.geojson"):
        gather(open_tables([one.result, two.result]), [read_marks(path)])


def test_a_table_without_densities_is_refused(base: Path, tmp_path: Path):
    bare = make_slide(tmp_path, "bare", 0, base, shape=(140, 140), measure="none")
    path = labelled_table(bare, some_rows(bare.kinds, 3), tmp_path / "a.csv")
    refused(bare, path, "no measurements of stain", "--measure shape,stain --overwrite")
