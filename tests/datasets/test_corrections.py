"""Results that were corrected in QuPath and exported again: what was changed, and where that is the truth."""

from __future__ import annotations

import copy
import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.affinity import scale, translate

from helpers.files.corrections import (
    Features,
    at,
    changes_of,
    class_at,
    corrected,
    counts,
    drawn,
    free_square,
    index_near,
    label_at,
    name_class,
    reshape,
    shape_of,
    square,
    write,
)
from helpers.files.datasets import write_set
from helpers.oracle import write_slide
from helpers.runs import run
from wsinuc.datasets import open_dataset
from wsinuc.datasets.corrections.changes import Changes
from wsinuc.datasets.corrections.correction import _Names
from wsinuc.datasets.corrections.detections import Detections, Extents, read_detections
from wsinuc.datasets.layouts import corrected_slide, qupath_slide
from wsinuc.errors import DataError
from wsinuc.exports.formats.geojson import write_result_geojson
from wsinuc.slides import open_slide
from wsinuc.workflows.data.info import describe_dataset
from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set

EVERYTHING = ImageSelection(wanted={}, unwanted={})


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "plane.tiff", (420, 420), levels=1)


@pytest.fixture(scope="module")
def reference(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of two classes."""
    out = tmp_path_factory.mktemp("results") / "plane.wsinuc"
    run(slide, out, workers=1, block=512, report=False, image="none")
    return out


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slides are opened without a process of their own, which takes longer than everything else here."""
    monkeypatch.setattr(qupath_slide, "open_isolated", open_slide)


@pytest.fixture(scope="module")
def exported(reference: Path) -> Features:
    """What QuPath was given."""
    features = json.loads((reference / "nuclei.geojson").read_text())["features"]
    assert len(features) > 100
    return features


@pytest.fixture
def features(exported: Features) -> Features:
    return copy.deepcopy(exported)


# --- what was changed


def test_everything_that_was_changed_is_counted_and_in_a_region(reference, features, tmp_path):
    deleted, edited, given = (index_near(features, x, y) for x, y in ((80, 80), (340, 80), (80, 340)))
    shapes = [shape_of(feature) for feature in features]
    larger = scale(shapes[edited], 1.3, 1.3)
    new = free_square(features)
    reshape(features[edited], larger)
    name_class(features[given], "Immune cells")
    features.append(drawn(new, "Fat cell"))
    features.pop(deleted)
    dataset = corrected(reference, tmp_path, features)
    left = len(shapes) - 3
    assert counts(dataset) == {"deleted": 1, "edited": 1, "replaced": 0, "given": 1, "added": 1, "left": left}
    assert dataset.layout.notes[0] == (
        "corrected.geojson: corrections of nuclei: 1 deleted, 1 edited, 1 added, 1 of another class; "
        f"{left:,} as they were"
    )
    assert (dataset.layout.kind, len(dataset)) == ("instances", 4)
    assert {image.mpp for image in dataset} == {0.5}
    # The nucleus that was deleted is background that counts.
    gone = shapes[deleted].representative_point()
    image, y, x = at(dataset, gone.x, gone.y)
    assert image.labels[y, x] == 0
    assert image.ignore is None or not image.ignore[y, x]
    # The one that was edited has the pixels of its new outline.
    image, y, x = at(dataset, larger.centroid.x, larger.centroid.y)
    assert (image.labels == image.labels[y, x]).sum() == pytest.approx(larger.area, rel=0.03)
    image, y, x = at(dataset, new.centroid.x, new.centroid.y)
    assert (image.labels == image.labels[y, x]).sum() == 100
    assert [c.name for c in dataset.classes] == ["Fat cell", "Immune cells"]
    assert class_at(dataset, shapes[given]) == "Immune cells"
    assert class_at(dataset, larger) == "", "what the model says is no annotation"


def test_regions_around_changes_reach_no_further_than_a_nucleus(reference, features, tmp_path):
    shape = shape_of(features.pop(index_near(features, 200, 210)))
    (image,) = corrected(reference, tmp_path, features)
    x0, y0, x1, y1 = shape.bounds
    # 10 um are 20 px here.
    assert image.image.shape[0] == np.ceil(y1 + 20) - np.floor(y0 - 20)
    assert image.image.shape[1] == np.ceil(x1 + 20) - np.floor(x0 - 20)
    assert image.labels.max() > 0, "its neighbours, as they were"
    assert image.classes is None


def test_in_a_region_that_was_drawn_everything_counts(reference, features, tmp_path):
    inside = index_near(features, 200, 200)
    outside = index_near(features, 380, 390)
    shapes = [shape_of(feature) for feature in features]
    name_class(features[inside], "Immune cells")
    name_class(features[outside], "Immune cells")
    region = shapely.box(100, 100, 300, 300)
    features.append(drawn(region, "Region*"))
    dataset = corrected(reference, tmp_path, features)
    (image,) = dataset
    assert image.labels.shape == (200, 200)
    assert image.ignore is None
    touching = sum(shape.intersection(region).area > 1 for shape in shapes)
    assert abs(image.labels.max() - touching) <= 2
    assert [c.name for c in dataset.classes] == ["Immune cells", "long", "round"]
    assert (image.classes[1:] > 0).all(), "the model's classes were checked, too"
    assert class_at(dataset, shapes[inside]) == "Immune cells"
    assert "1 changes lie outside of them and are not used" in dataset.layout.notes[1]
    (outside,) = (
        note for note in dataset.layout.notes if note.startswith("outlines outside of every region, left out")
    )
    assert int(outside.split()[-1]) == pytest.approx(len(shapes) - touching, abs=3)


def test_a_region_without_changes_says_that_all_in_it_is_right(reference, features, tmp_path):
    dataset = corrected(reference, tmp_path, [*features, drawn(shapely.box(100, 100, 200, 200), "region 1")])
    assert counts(dataset)["left"] == len(features)
    assert len(dataset) == 1


# --- matching


@pytest.mark.parametrize("lose", ["id", "rounding"])
def test_neither_lost_ids_nor_rounding_are_corrections(reference, features, tmp_path, lose):
    shape = shape_of(features.pop(index_near(features, 200, 210)))
    if lose == "id":
        for feature in features:
            feature["id"] = str(uuid.uuid4())
    else:
        for feature in features:
            ring = np.array(feature["geometry"]["coordinates"][0], np.float32)
            feature["geometry"]["coordinates"] = [np.roll(ring[:-1], 3, axis=0).tolist()]
            feature["geometry"]["coordinates"][0].append(feature["geometry"]["coordinates"][0][0])
    dataset = corrected(reference, tmp_path, features)
    left = len(features)
    assert counts(dataset) == {"deleted": 1, "edited": 0, "replaced": 0, "given": 0, "added": 0, "left": left}
    assert label_at(dataset, shape) == 0


def test_exact_outlines_are_no_corrections(reference, tmp_path):
    path = tmp_path / "exact.geojson"
    write_result_geojson(reference, path, outlines="exact")
    with pytest.raises(DataError, match="nothing in it differs"):
        open_dataset(f"{reference}={path}")


def test_what_was_drawn_over_a_nucleus_stands_for_it(reference, features, tmp_path):
    over = index_near(features, 200, 210)
    shape = shape_of(features[over])
    larger = scale(shape, 1.2, 1.2)
    dataset = corrected(reference, tmp_path, [*features, drawn(larger, "Immune cells")])
    left = len(features) - 1
    assert counts(dataset) == {"deleted": 0, "edited": 1, "replaced": 0, "given": 1, "added": 0, "left": left}
    image, y, x = at(dataset, shape.centroid.x, shape.centroid.y)
    assert (image.labels == image.labels[y, x]).sum() == pytest.approx(larger.area, rel=0.03)
    assert class_at(dataset, shape) == "Immune cells"


def test_one_outline_drawn_for_two_nuclei_replaces_both(reference, features, tmp_path):
    shapes = np.array([shape_of(feature) for feature in features])
    first, second = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=1.0)
    sizes = shapely.area(shapes)
    # Of about one size, so that the whole is neither of both.
    alike = (first < second) & (np.abs(sizes[first] - sizes[second]) < 0.1 * sizes[first])
    k = int(np.flatnonzero(alike)[0])
    both = shapely.union(shapes[first[k]], shapes[second[k]]).buffer(1.0)
    dataset = corrected(reference, tmp_path, [*features, drawn(both)])
    assert counts(dataset) == {
        "deleted": 0,
        "edited": 0,
        "replaced": 2,
        "given": 0,
        "added": 1,
        "left": len(features) - 2,
    }
    assert label_at(dataset, shapes[first[k]]) == label_at(dataset, shapes[second[k]]) > 0


def test_the_same_nucleus_twice_counts_once(reference, features, tmp_path):
    again = copy.deepcopy(features[index_near(features, 200, 210)])
    name_class(again, "Immune cells")
    dataset = corrected(reference, tmp_path, [*features, again])
    assert counts(dataset)["added"] == counts(dataset)["edited"] == 0
    assert counts(dataset)["given"] == 1
    assert class_at(dataset, shape_of(again)) == "Immune cells"


def test_points_name_the_class_of_the_nucleus_that_they_lie_in(reference, features, tmp_path):
    shape = shape_of(features[index_near(features, 200, 200)])
    point = shape.representative_point()
    marks = [drawn(point, "Immune cells"), drawn(shapely.box(100, 100, 300, 300), "Region*")]
    dataset = corrected(reference, tmp_path, features + marks)
    assert changes_of(dataset).marked == 1
    assert class_at(dataset, shape) == "Immune cells"
    alone = corrected(reference, tmp_path, [*features, marks[0]])
    assert class_at(alone, shape) == "Immune cells"


def test_a_large_area_is_tissue_and_no_nucleus(reference, features, tmp_path):
    tissue = drawn(shapely.box(50, 50, 300, 300), "Tumor")
    features.pop(index_near(features, 200, 210))
    dataset = corrected(reference, tmp_path, [*features, tissue])
    assert counts(dataset)["added"] == 0
    assert any(note.startswith("outlines larger than 2,000 um2") for note in dataset.layout.notes)


@pytest.mark.parametrize("trusted", [False, True])
def test_the_only_class_of_a_model_says_nothing(trusted):
    one = np.zeros(1)
    extents = Extents(boxes=np.zeros((1, 4)), areas=one)
    detections = Detections(
        result=Path("a"),
        origin_yx=(0, 0),
        outlines="exact",
        class_names=("Nucleus",),
        ids=np.ones(1, np.int64),
        classes=np.zeros(1, np.uint8),
        drawn=extents,
        exact=extents,
        keys=np.array([b"a"], "S16"),
        order=np.zeros(1, np.intp),
    )
    none = np.zeros(0, np.intp)
    changes = Changes(deleted=none, edited=none, replaced=none, added=0, given={}, marked=0, left=1)
    names = _Names(detections, changes, trusted=trusted)
    assert (names.of_nucleus(0), names.of_drawn("nucleus", None), names.of_drawn("Tumor", None)) == ("", "", "Tumor")


def test_every_uuid_finds_its_nucleus(reference, exported):
    detections = read_detections(reference, (0.0, 0.0))
    found = [detections.find(uuid.UUID(feature["id"]).bytes) for feature in exported]
    assert found == list(range(len(exported)))
    assert detections.find(uuid.uuid4().bytes) is None
    some = detections.polygons([5, 3])
    assert sorted(some) == [3, 5]
    assert some[3].equals_exact(shape_of(exported[3]), 0.01)


# --- as a data set


def test_names_on_a_slide_are_one_class_in_any_capitals(slide, tmp_path):
    path = tmp_path / "drawn.geojson"
    features = [
        drawn(square(20, 20, 60), "Region*"),
        drawn(square(30, 30, 10), "Tumor"),
        drawn(square(60, 30, 10), "tumor"),
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    dataset = open_dataset(f"{slide}={path}")
    assert [(c.name, c.color) for c in dataset.classes] == [("Tumor", (9, 8, 7))]
    assert dataset[0].classes.tolist() == [0, 1, 1]
    assert "the class 'tumor' is taken for 'Tumor'" in dataset.layout.notes


def test_training_and_info_take_it_and_say_what_was_changed(reference, features, tmp_path):
    features.pop(index_near(features, 200, 210))
    source = f"{reference}={write(tmp_path, features)}"
    chosen = gather_training_set([source], mpp=None, selection=EVERYTHING)
    assert [c.name for c in chosen.classes] == ["Nucleus"]
    assert any("1 deleted; " in note for note in chosen.notes)
    described = describe_dataset(source)
    assert (described.layout, described.images) == ("corrected", 1)
    assert any("1 deleted; " in note for note in described.notes)


def test_what_was_exported_of_a_region_alone_deletes_nothing_elsewhere(reference, features, tmp_path):
    region = shapely.box(100, 100, 300, 300)
    inside = [feature for feature in features if shape_of(feature).intersects(region)]
    gone = shape_of(inside.pop(index_near(inside, 200, 200)))
    dataset = corrected(reference, tmp_path, [*inside, drawn(region, "Region*")])
    assert counts(dataset)["deleted"] == 1
    assert "changes lie outside" not in dataset.layout.notes[1]
    assert label_at(dataset, gone) == 0
    # The same picture as of all nuclei, of which that one was deleted.
    everything = [feature for feature in features if not shape_of(feature).equals(gone)]
    whole = corrected(reference, tmp_path, [*everything, drawn(region, "Region*")])
    assert ((dataset[0].labels > 0) == (whole[0].labels > 0)).all()


def test_a_few_classes_are_for_classify_and_make_no_name_for_all_nuclei(reference, features, tmp_path):
    whole = [*features, drawn(shapely.box(100, 100, 300, 300), "Region*")]
    few = copy.deepcopy(features)
    for feature in few[:3]:
        name_class(feature, "Immune cells")
    source = f"{reference}={write(tmp_path / 'few', few)}"
    mixed = gather_training_set([str(write_set(tmp_path / "set")), source], mpp=None, selection=EVERYTHING)
    assert [c.name for c in mixed.classes] == ["Nucleus"]
    assert any("classes are not learned, because" in note for note in mixed.notes)
    chosen = gather_training_set([source], mpp=None, selection=EVERYTHING)
    assert [c.name for c in chosen.classes] == ["Nucleus"]
    assert all(image.classes is None for image in chosen.images)
    assert any("3 of " in note and "(Immune cells), too few for pixels to teach it" in note for note in chosen.notes)
    # In a region that was checked the model's classes count, so all nuclei have one.
    both = [source, f"{reference}={write(tmp_path / 'all', whole)}"]
    chosen = gather_training_set(both, mpp=None, selection=EVERYTHING)
    assert [c.name for c in chosen.classes] == ["Immune cells", "long", "round"]
    assert {int(number) for image in chosen.images for number in image.classes[1:]} == {0, 1, 2, 3}


def test_a_table_names_results_as_it_names_slides(reference, features, tmp_path):
    shape = shape_of(features.pop(index_near(features, 200, 210)))
    write(tmp_path, features)
    (tmp_path / "slides.csv").write_text(f"slide,annotations,patient\n{reference},corrected.geojson,P1\n")
    dataset = open_dataset(tmp_path / "slides.csv")
    assert (dataset.layout.name, dataset.names) == ("qupath", ("plane_1",))
    assert dataset[0].attributes["patient"] == "P1"
    assert counts(dataset)["deleted"] == 1
    assert label_at(dataset, shape) == 0


# --- what is refused


def test_a_result_alone_is_no_annotation(reference):
    with pytest.raises(DataError, match=r"what a model found is no annotation.*plane\.wsinuc=corrected\.geojson"):
        open_dataset(reference)


def test_nothing_changed_and_no_region_is_nothing_to_learn_from(reference, features, tmp_path):
    with pytest.raises(DataError, match=r"nothing in it differs from .*Region\*"):
        corrected(reference, tmp_path, features)


def test_a_part_of_the_nuclei_is_no_deletion_of_the_others(reference, features, tmp_path):
    name_class(features[0], "Immune cells")
    with pytest.raises(DataError, match=r"of the .* nuclei of .* are missing.*export all"):
        corrected(reference, tmp_path, features[:40])


@pytest.mark.parametrize(("shift", "region"), [(5000, False), (2, False), (2, True)])
def test_another_results_nuclei_are_refused(reference, features, tmp_path, shift, region):
    for feature in features:
        feature["id"] = str(uuid.uuid4())
        reshape(feature, translate(shape_of(feature), shift, 0))
    if region:
        features.append(drawn(shapely.box(100, 100, 300, 300), "Region*"))
    with pytest.raises(DataError, match=r"none of its .* outlines has the UUID .*another slide's or run's\?.*SLIDE="):
        corrected(reference, tmp_path, features)


def test_a_slide_that_has_moved_is_looked_for_beside_the_result(reference, slide, features, tmp_path):
    features.pop(index_near(features, 200, 210))
    moved = tmp_path / "elsewhere" / "plane.wsinuc"
    shutil.copytree(reference, moved)
    assert corrected_slide.slide_of(moved) == slide
    original = slide.rename(slide.with_name("away.tiff"))
    try:
        with pytest.raises(DataError, match=r"the slide of .* is not at .*plane\.tiff, nor beside the result"):
            corrected(moved, tmp_path, features)
        shutil.copy(original, moved.parent / "plane.tiff")
        assert len(corrected(moved, tmp_path, features)) == 1
    finally:
        original.rename(slide)
