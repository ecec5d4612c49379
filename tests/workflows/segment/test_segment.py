"""The whole run on a slide of known nuclei: what it writes, what it survives, what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from itertools import pairwise
from pathlib import Path

import geojson
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely.geometry
import tifffile
import zarr
from ome_zarr_models.v05 import Image

from helpers.oracle import OracleSegmenter, plane, scores_of, write_slide
from helpers.runs import FILES, SHAPE, Stop, config, run, tree
from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError, MppError, OutputError, SlideError, WsinucError
from wsinuc.grid import Box
from wsinuc.labels import paint_outlines
from wsinuc.nuclei import concatenate
from wsinuc.pipeline import block_worker
from wsinuc.store import iter_nuclei
from wsinuc.workflows.segment.events import BlockDone, Event, Finished, Planned, StageStarted
from wsinuc.workflows.segment.run import plan_segment
from wsinuc.workflows.segment.summary import peak_memory_bytes


def test_the_result_holds_what_is_promised_and_nothing_else(reference: Path) -> None:
    assert sorted(path.name for path in reference.iterdir()) == FILES
    assert Image.from_zarr(zarr.open_group(reference / "labels.ome.zarr", mode="r")).labels is not None
    assert not list(reference.rglob("*partial*"))


def test_it_finds_every_nucleus_of_the_slide(reference: Path) -> None:
    expected = OracleSegmenter().separate(scores_of(plane(SHAPE)))
    found = zarr.open_array(reference / "labels.ome.zarr" / "labels" / "nuclei" / "0", mode="r")[:]
    pairs = np.unique(np.stack([expected.ravel(), found.ravel()]), axis=1)
    assert expected.max() > 400
    assert pairs.shape[1] == expected.max() + 1  # a one-to-one map, background on background


def test_table_labels_and_geojson_agree(reference: Path) -> None:
    table = concatenate(list(iter_nuclei(reference)))
    np.testing.assert_array_equal(table.ids, np.arange(1, len(table) + 1))
    root = zarr.open_group(reference / "labels.ome.zarr", mode="r")
    labels, classes = root["labels/nuclei/0"][:], root["labels/nuclei_class/0"][:]
    np.testing.assert_array_equal(np.bincount(labels.ravel())[1:], table.areas_px)
    np.testing.assert_allclose(table.measurements["area_um2"], table.areas_px * 0.25)
    np.testing.assert_array_equal(classes, np.concatenate([[0], table.classes + 1])[labels])
    painted = paint_outlines(table.outlines, table.offsets, table.ids, Box.of_shape(SHAPE), dtype=np.uint32)
    np.testing.assert_array_equal(painted, labels)

    features = geojson.loads((reference / "nuclei.geojson").read_text())["features"]
    assert len(features) == len(table)
    for i, feature in enumerate(features):
        polygon = shapely.geometry.shape(feature["geometry"])
        assert polygon.is_valid
        assert polygon.area == pytest.approx(table.areas_px[i], rel=0.01)
        assert feature["properties"]["classification"]["name"] == table.class_names[table.classes[i]]


def test_the_summary_adds_up(slide: Path, reference: Path) -> None:
    summary = json.loads((reference / "summary.json").read_text())
    table = concatenate(list(iter_nuclei(reference)))
    assert summary["nuclei"] == len(table) == sum(summary["counts"].values())
    assert summary["counts"]["long"] == int((table.classes == 1).sum())
    assert summary["slide_mm2"] == pytest.approx(900 * 700 * 0.25e-6)
    assert summary["nuclei_per_mm2"] == pytest.approx(len(table) / summary["tissue_mm2"])
    assert set(summary["seconds"]) == {
        "blocks",
        "numbering",
        "image",
        "labels",
        "geojson",
        "preview",
        "report",
        "total",
    }
    assert 0 < summary["network_busy"] < 1
    assert summary["peak_memory_bytes"] > 2**20
    assert summary["blocks"] == 12
    assert summary["resumed_blocks"] == 0
    assert summary["settings"]["segmenter"] == OracleSegmenter().identity
    assert summary["versions"]["numpy"] == np.__version__
    assert "torch" not in summary["versions"] or "torch" in sys.modules
    assert summary["unreadable"] == []
    assert summary["outputs"] == FILES[:-1]


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_and_order_of_completion_change_no_byte(
    slide: Path, reference: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []
    finished = [threading.Event() for _ in range(12)]
    process = block_worker.process_block

    def shuffled(view, block, *args, **options):
        result = process(view, block, *args, **options)
        if block.index // 3 % 2 == 0:  # lets the next one, below it, overtake it
            assert finished[block.index + 3].wait(60)
        order.append(block.index)
        finished[block.index].set()
        return result

    monkeypatch.setattr(block_worker, "process_block", shuffled)
    run(slide, tmp_path / "out", workers=workers)
    assert order != sorted(order)
    assert tree(tmp_path / "out") == tree(reference)


@pytest.mark.parametrize("block", [192, 512, 1024])
def test_other_blocks_find_the_same_nuclei(slide: Path, reference: Path, tmp_path: Path, block: int) -> None:
    run(slide, tmp_path / "out", block=block)

    def outlines(path: Path) -> set[bytes]:
        table = concatenate(list(iter_nuclei(path)))
        rings = zip(table.offsets[:-1], table.offsets[1:], strict=True)
        return {table.outlines[start:stop].tobytes() for start, stop in rings}

    assert outlines(tmp_path / "out") == outlines(reference)


def test_changed_settings_are_refused_and_other_workers_are_not(slide: Path, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, BlockDone):
            raise Stop

    with pytest.raises(Stop):
        run(slide, tmp_path / "out", None, interrupt)
    with pytest.raises(OutputError, match="batch_size was 4, now 5"):
        run(slide, tmp_path / "out", batch_size=5)
    run(slide, tmp_path / "out", workers=4, max_unreadable=0.5)


def test_an_existing_result_is_refused_then_replaced(slide: Path, reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(reference, out)
    (out / "nuclei" / "part-00000.parquet").unlink()
    with pytest.raises(OutputError, match=r"damaged result \(nuclei/part-00000.parquet is missing\).*--overwrite"):
        run(slide, out)
    assert not (out / ".run").exists()
    run(slide, out, overwrite=True)
    assert tree(out) == tree(reference)


def test_events_tell_the_story_in_order(slide: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    summary = run(slide, tmp_path / "out", on_event=events.append)
    stages = [event.name for event in events if isinstance(event, StageStarted)]
    assert stages == ["blocks", "numbering", "image", "labels", "geojson", "preview", "report"]
    planned = next(event for event in events if isinstance(event, Planned))
    assert (planned.blocks, planned.resumed) == (12, 0)
    done = [event for event in events if isinstance(event, BlockDone)]
    assert [event.done for event in done] == list(range(1, 13))
    assert done[-1].nuclei == summary.nuclei
    assert events[-1] == Finished(summary=summary)


def test_no_tissue_is_a_valid_empty_result(tmp_path: Path) -> None:
    from PIL import Image as Picture

    Picture.new("RGB", (600, 500), "white").save(tmp_path / "blank.png")
    segmenter = OracleSegmenter()
    summary = run(tmp_path / "blank.png", tmp_path / "out", segmenter, tissue="auto", mpp=0.5)
    assert summary.nuclei == 0
    assert segmenter.batches == []
    assert any("no tissue" in note for note in summary.notes)
    (table,) = iter_nuclei(tmp_path / "out")
    assert len(table) == 0
    assert geojson.loads((tmp_path / "out" / "nuclei.geojson").read_text())["features"] == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


@pytest.mark.parametrize("shape", [(1, 1), (40, 90), (127, 300)])
def test_a_slide_smaller_than_a_tile(tmp_path: Path, shape: tuple[int, int]) -> None:
    from PIL import Image as Picture

    Picture.fromarray(plane(shape)).save(tmp_path / "small.png")
    summary = run(tmp_path / "small.png", tmp_path / "out", mpp=0.5)
    assert summary.nuclei == OracleSegmenter().separate(scores_of(plane(shape))).max()


def test_only_nuclei_with_their_centroid_in_the_region(slide: Path, reference: Path, tmp_path: Path) -> None:
    square = geojson.Polygon([[(205, 303), (455, 303), (455, 650), (205, 650), (205, 303)]])
    (tmp_path / "roi.geojson").write_text(geojson.dumps(geojson.Feature(geometry=square)))
    segmenter = OracleSegmenter()
    summary = run(slide, tmp_path / "out", segmenter, roi=tmp_path / "roi.geojson")
    table = concatenate(list(iter_nuclei(reference)))
    y, x = table.centroids.T
    expected = table.select((x > 205) & (x < 455) & (y > 303) & (y < 650))
    found = concatenate(list(iter_nuclei(tmp_path / "out")))
    assert summary.nuclei == len(expected) > 50
    assert sorted(map(tuple, found.centroids)) == sorted(map(tuple, expected.centroids))
    np.testing.assert_array_equal(found.ids, np.arange(1, len(found) + 1))
    assert summary.tissue_mm2 == pytest.approx(250 * 347 * 0.25e-6, rel=0.2)  # cells of 8 um


def test_too_much_that_cannot_be_read_fails_and_is_kept(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsinuc.pipeline import block

    read = block.read_resilient
    monkeypatch.setattr(block, "read_resilient", lambda view, box: (read(view, box)[0], [Box(0, 0, 300, 300)]))
    with pytest.raises(SlideError, match=r"14\.3% of the tissue cannot be decoded, 5\.0% is allowed"):
        run(slide, tmp_path / "out")
    segmenter = OracleSegmenter()
    summary = run(slide, tmp_path / "out", segmenter, max_unreadable=0.2)
    assert segmenter.batches == []
    assert summary.unreadable_share == pytest.approx(300 * 300 / (900 * 700))
    assert any("undecodable" in note for note in summary.notes)


@pytest.mark.parametrize("block", [192, 512])
def test_damage_costs_the_same_nuclei_in_any_blocks(slide: Path, tmp_path: Path, block: int) -> None:
    content = bytearray(slide.read_bytes())
    with tifffile.TiffFile(slide) as tiff:
        offset, length = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    content[offset : offset + length] = bytes(length)
    damaged = tmp_path / "damaged.tiff"
    damaged.write_bytes(content)
    summary = run(damaged, tmp_path / "out", block=block, max_unreadable=0.2)
    assert summary.unreadable_share == pytest.approx(256 * 188 / (900 * 700))  # the slide ends inside that tile
    pixels = plane(SHAPE)
    pixels[256:512, 512:700] = 255
    expected = OracleSegmenter().separate(scores_of(pixels)).max()
    assert summary.nuclei == expected
    with pytest.raises(SlideError, match="cannot be decoded"):
        run(damaged, tmp_path / "strict", block=block)


def test_what_is_wrong_from_the_start_writes_nothing(slide: Path, tmp_path: Path) -> None:
    from PIL import Image as Picture

    Picture.new("RGB", (60, 50), "white").save(tmp_path / "no_mpp.png")
    cases: list[tuple[Path, type[WsinucError]]] = [
        (tmp_path / "missing.svs", SlideError),
        (tmp_path / "no_mpp.png", MppError),
    ]
    for path, error in cases:
        with pytest.raises(error):
            run(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_slide_too_coarse_for_the_model_is_refused(slide: Path, tmp_path: Path) -> None:
    for mpp in (1.2, 0.06):
        with pytest.raises(MppError, match=rf"has {mpp} um per pixel, but the model takes 0.1 to 1.1 .*--mpp"):
            run(slide, tmp_path / "out", mpp=mpp)
    assert not (tmp_path / "out").exists()


def test_too_little_space_is_said_before_the_work(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(OutputError, match="free"):
        run(slide, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_plan_says_what_the_run_does(slide: Path, reference: Path, tmp_path: Path) -> None:
    segmenter = OracleSegmenter()
    plan = plan_segment(slide, tmp_path / "out", config(), segmenter)
    assert segmenter.batches == []
    assert not (tmp_path / "out").exists()
    assert (plan.level, plan.mpp, plan.shape) == (0, 0.5, SHAPE)
    assert len(plan.blocks) == plan.blocks_total == 12
    assert plan.tissue_share == 1.0
    assert plan.tiles == json.loads((reference / "summary.json").read_text())["tiles"]
    assert plan.memory_bytes > 2**20
    assert plan.run_id == plan_segment(slide, tmp_path / "elsewhere", config(workers=4), segmenter).run_id
    assert plan.run_id != plan_segment(slide, tmp_path / "out", config(block=512), segmenter).run_id


def test_the_report_can_be_left_out_and_changes_nothing_else(slide: Path, reference: Path, tmp_path: Path) -> None:
    summary = run(slide, tmp_path / "out", report=False)
    assert "report.html" not in summary.outputs
    assert "report" not in summary.seconds
    rest = {name: digest for name, digest in tree(reference).items() if name != "report.html"}
    assert tree(tmp_path / "out") == rest


def test_the_report_says_what_the_summary_says(reference: Path) -> None:
    page = (reference / "report.html").read_text(encoding="utf-8")
    summary = json.loads((reference / "summary.json").read_text())
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert f"{summary['nuclei']:,} nuclei on 0.158 mm² of the slide: {summary['nuclei_per_mm2']:,.0f} per mm²" in text
    for name, count in summary["counts"].items():
        assert f"{name} {count:,}" in text
    assert "plane.tiff" in text
    assert "Typical field" in text or "Densest field" in text
    assert f"wsinuc {summary['versions']['wsinuc']}" in text
    assert str(reference) not in page
    assert page.count("data:image/jpeg") >= 3


def test_exact_outlines_change_the_file_for_qupath_alone(tmp_path: Path) -> None:
    """Labels are the same bytes and tables the same nuclei; the settings say that another file is wanted."""
    small = write_slide(tmp_path / "small.tiff", (200, 220), levels=1)
    for kind in ("smooth", "exact"):
        run(small, tmp_path / kind, outlines=kind)
    smooth, exact = (tree(tmp_path / kind) for kind in ("smooth", "exact"))
    different = {name for name in smooth if smooth[name] != exact[name]}
    # Table and page name the run, which is another with other settings.
    assert different == {"nuclei.geojson", "nuclei/part-00000.parquet", "report.html"}
    tables = [pq.read_table(tmp_path / kind / "nuclei").drop_columns(["uuid"]) for kind in ("smooth", "exact")]
    assert tables[0].equals(tables[1])
    features = geojson.loads((tmp_path / "exact" / "nuclei.geojson").read_text())["features"]
    rings = [feature["geometry"]["coordinates"][0] for feature in features]
    assert rings
    assert all(a[0] == b[0] or a[1] == b[1] for ring in rings for a, b in pairwise(ring))
    settings = [json.loads((tmp_path / kind / "summary.json").read_text())["settings"] for kind in ("smooth", "exact")]
    assert settings[1] == {**settings[0], "outlines": "exact"}
    with pytest.raises(ConfigError, match="smooth or exact"):
        SegmentConfig(outlines="rough")  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_memory_of_a_process_of_any_name() -> None:
    name = Path("/proc/thread-self/comm")
    before = name.read_bytes()
    # Linux cuts names off after 15 bytes, in the middle of a letter if need be.
    name.write_bytes("fünfzehnbytesöä".encode()[:15])
    try:
        assert peak_memory_bytes() > 2**20
    finally:
        name.write_bytes(before.rstrip())
