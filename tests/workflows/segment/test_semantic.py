"""The class of every pixel of a slide: the same whatever the blocks, their order, and how often a run stopped."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from numpy.typing import NDArray
from ome_zarr_models.v05 import Image

import wsinuc
from helpers.oracle import CLASSES, OracleSegmenter, plane, scores_of, write_slide
from helpers.runs import Stop, tree
from helpers.runs import run as run_whole
from wsinuc.errors import OutputError
from wsinuc.exports.ome_zarr.export import write_ome_zarr
from wsinuc.exports.ome_zarr.metadata import Version, semantic_classes
from wsinuc.exports.scverse.rasters import pyramids
from wsinuc.nuclei import Frame, empty
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.semantic.image import SemanticImage
from wsinuc.semantic.verdict import class_map
from wsinuc.store import Entry, ResultStore, settings_hash
from wsinuc.store.pieces import ClassMaps, map_path, write_class_map
from wsinuc.workflows.reclassify.class_image import write_class_image
from wsinuc.workflows.segment.events import BlockDone, Event
from wsinuc_cli.commands.info import info
from wsinuc_cli.main import main

SHAPE = (340, 270)
EXPECTED = class_map(scores_of(plane(SHAPE)), len(CLASSES))


def run(slide: Path, out: Path, segmenter: OracleSegmenter | None = None, **options: object):
    return run_whole(slide, out, segmenter, **{"block": 128, "report": False, **options})


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "small.tiff", SHAPE, levels=1)


def pixels_of(result: Path) -> NDArray[np.uint8]:
    return zarr.open_array(result / "labels.ome.zarr/labels/semantic/0", mode="r")[:]


@pytest.fixture(scope="module")
def semantic(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, with the settings of `run`."""
    out = tmp_path_factory.mktemp("semantic")
    options = ["--tissue", "none", "--block", "128", "--no-report", "--semantic", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsinuc.segmenters.load_segmenter", lambda model, *, device: OracleSegmenter())
        done = CliRunner().invoke(main, ["segment", str(slide), "-o", str(out), *options])
    assert done.exit_code == 0, done.output
    return out / "small.wsinuc"


def test_every_pixel_has_the_most_probable_class(semantic: Path) -> None:
    np.testing.assert_array_equal(pixels_of(semantic), EXPECTED)
    summary = json.loads((semantic / "summary.json").read_text())
    areas = np.bincount(EXPECTED.ravel())[1:] * 0.25e-6
    assert summary["semantic_mm2"] == pytest.approx(dict(zip(("round", "long"), areas, strict=True)))
    assert np.bincount(EXPECTED.ravel()).min() > 500


def test_all_else_is_as_without(slide: Path, semantic: Path, tmp_path: Path) -> None:
    reference = tmp_path / "out"
    run(slide, reference)
    ours = tree(semantic)
    for name, content in tree(reference).items():
        # The table and the page name the run, whose settings differ by the word.
        if name.startswith("labels.ome.zarr/labels/nuclei") or name == "preview.png":
            assert ours[name] == content, name


def test_it_is_described_as_the_other_label_images(semantic: Path) -> None:
    root = zarr.open_group(semantic / "labels.ome.zarr", mode="r")
    assert root["labels"].attrs["ome"]["labels"] == ["nuclei", "nuclei_class", "semantic"]
    image = Image.from_zarr(root)
    assert image.labels is not None
    table = root["labels/semantic"].attrs["ome"]["image-label"]
    assert [row["name"] for row in table["properties"]] == ["background", "round", "long"]
    assert [row["rgba"][:3] for row in table["colors"]][1:] == [list(each.color) for each in CLASSES]
    np.testing.assert_array_equal(root["labels/semantic/0"][:], EXPECTED)


@pytest.mark.parametrize("block", [256])
def test_blocks_change_no_pixel(slide: Path, tmp_path: Path, block: int) -> None:
    run(slide, tmp_path / "out", block=block, semantic=True)
    np.testing.assert_array_equal(pixels_of(tmp_path / "out"), EXPECTED)


def test_interruption_and_order_change_no_byte(slide: Path, semantic: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 4:
            raise Stop

    with pytest.raises(Stop):
        run(slide, out, on_event=stop, workers=3, semantic=True)
    # A damaged map is as good as none: its block is made anew.
    kept = sorted((out / ".run" / "blocks").glob("*.npz"))
    assert len(kept) >= 4
    kept[0].write_bytes(kept[0].read_bytes()[:-1])
    summary = run(slide, out, workers=2, semantic=True)
    assert 0 < summary.resumed_blocks < len(kept) + 1
    assert tree(out) == tree(semantic)


def test_a_map_that_is_damaged_after_it_was_written_is_told_and_made_anew(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "out").open_run({"block": 64}, resume=True, overwrite=False) as store:
        sha256 = write_class_map(np.eye(64, dtype=np.uint8), map_path(store.work, 3))
        entry = Entry(block=3, nuclei=0, shard_sha256=None, unreadable=(), tiles=1, at_edge=0, seconds={})
        store.add(replace(entry, semantic_sha256=sha256), empty(Frame(mpp=0.5, downsample=(1.0, 1.0)), (), ()))
        maps = ClassMaps(store.work, settings_hash({"block": 64}))
        # It travels to workers with every task.
        image = pickle.loads(pickle.dumps(SemanticImage.of(OracleSegmenter(), maps)))
        np.testing.assert_array_equal(image.draw(3, np.zeros((64, 64), np.uint8)), np.eye(64))
        assert maps(4) is None
        assert write_class_map(np.zeros((64, 64), np.uint8), map_path(store.work, 5)) is None
        assert list(store.finished()) == [3]
        map_path(store.work, 3).write_bytes(b"PK")
        assert not store.finished()
        with pytest.raises(OutputError, match="damaged on disk"):
            maps(3)
        assert not (store.work / "done" / "000003.json").exists()


def test_a_region_ends_where_it_was_drawn(slide: Path, tmp_path: Path) -> None:
    # In level-0 pixels, which are those of the view here; x from 50 to 200, y from 100 to 250.
    ring = [[50, 100], [200, 100], [200, 250], [50, 250], [50, 100]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    roi = tmp_path / "roi.geojson"
    roi.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    run(slide, tmp_path / "out", semantic=True, roi=roi)
    inside = np.zeros(SHAPE, bool)
    inside[100:250, 50:200] = True
    np.testing.assert_array_equal(pixels_of(tmp_path / "out"), np.where(inside, EXPECTED, 0))


class NamesNuclei(OracleSegmenter):
    """Tells whole nuclei apart, as a model with a nucleus classifier does."""

    def classify(self, labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        painted = scores[:4].copy()
        painted[2] = np.where(labels % 2 == 0, 255, 0)
        painted[3] = 255 - painted[2]
        return painted


def test_models_that_name_nuclei_give_pixels_the_class_of_their_nucleus(slide: Path, tmp_path: Path) -> None:
    run(slide, tmp_path / "out", NamesNuclei(), semantic=True)
    root = zarr.open_group(tmp_path / "out" / "labels.ome.zarr", mode="r")
    pixels = root["labels/semantic/0"][:]
    classes = root["labels/nuclei_class/0"][:]
    np.testing.assert_array_equal(pixels > 0, EXPECTED > 0)
    inside = (pixels > 0) & (classes > 0)
    np.testing.assert_array_equal(pixels[inside], classes[inside])
    assert set(np.unique(pixels[classes == 0])) <= {0, 3}
    table = root["labels/semantic"].attrs["ome"]["image-label"]["properties"]
    assert [row["name"] for row in table] == ["background", "round", "long", "Unclassified"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_exports_hold_it(semantic: Path, tmp_path: Path, version: Version) -> None:
    write_ome_zarr(semantic, tmp_path / "a.ome.zarr", version=version)
    root = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(root["labels/semantic/0"][:], EXPECTED)
    attributes = root["labels"].attrs if version == "0.4" else root["labels"].attrs["ome"]
    assert attributes["labels"] == ["nuclei", "nuclei_class", "semantic"]
    assert [each.name for each in pyramids(semantic, has_image=True)] == ["nuclei_labels", "semantic", "slide"]


def test_other_classes_of_nuclei_leave_it(semantic: Path, tmp_path: Path) -> None:
    container = tmp_path / "labels.ome.zarr"
    shutil.copytree(semantic / "labels.ome.zarr", container)
    one = (NucleusClass("one", (1, 2, 3)),)
    write_class_image(container, np.ones(10_000, np.uint8), one, 0.5)
    root = zarr.open_group(container, mode="r")
    np.testing.assert_array_equal(root["labels/semantic/0"][:], EXPECTED)
    assert semantic_classes(root) == list(CLASSES)
    assert root["labels"].attrs["ome"]["labels"][-1] == "semantic"


def test_python_and_the_command_line_read_it(semantic: Path, slide: Path, tmp_path: Path) -> None:
    result = wsinuc.read(semantic)
    np.testing.assert_array_equal(result.semantic.compute(), EXPECTED)
    shown = CliRunner().invoke(info, [str(semantic)]).output
    assert [line.split(maxsplit=1)[1] for line in shown.splitlines() if line.split()[0] == "semantic"] == [
        "round, long"
    ]
    found = json.loads(CliRunner().invoke(info, [str(semantic), "--json"]).output)
    assert found["label_images"] == {"nuclei": [], "nuclei_class": ["round", "long"], "semantic": ["round", "long"]}
    shutil.copytree(semantic, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/labels.ome.zarr/labels/semantic")
    with pytest.raises(OutputError, match="--semantic"):
        replace(result, folder=tmp_path / "out").semantic
