"""The loop of teaching as a user types it: QuPath file, model, result, classes, GeoJSON, and that as a data set."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
import shapely
import torch
import zarr
from click.testing import CliRunner
from numpy.typing import NDArray

from helpers.files.annotations import collection, drawn, square, write
from helpers.files.denoisers import SMALL, write_denoiser
from wsinuc.datasets import open_dataset
from wsinuc.datasets.layouts import qupath_slide
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.networks.unet import UNet
from wsinuc.pipeline import executor
from wsinuc.slides import open_slide
from wsinuc.store import iter_tables
from wsinuc_cli.main import main

EXAMPLES = Path(__file__).parents[1] / "examples" / "data"
Features = list[dict[str, Any]]
X0, Y0, X1, Y1 = REGION = (1100, 1128, 1228, 1256)
"""The window "lower left" of the example's annotations, in which both classes are."""
SLIDE_HEIGHT = 2967
FEW_MOVED = 0.05
"""Share of the pixels that finer outlines may move when they are drawn in those of the slide."""
CLASSES = {"Epithelium": (200, 0, 0), "Stroma": (150, 200, 150)}


@dataclass(frozen=True)
class Loop:
    """A folder in which the commands of the loop have run."""

    folder: Path
    printed: dict[str, str]
    """By command."""

    @property
    def result(self) -> Path:
        return self.folder / "slide.wsinuc"

    @property
    def taught(self) -> Path:
        return self.folder / "taught" / "slide.wsinuc"


def call(*arguments: object) -> str:
    outcome = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def go_round(folder: Path, annotated: Features, *training: object) -> Loop:
    """Every command, in a folder that holds the slide with its annotations beside it."""
    slide = Path(shutil.copy(EXAMPLES / "CMU-1-Small-Region.svs", folder / "slide.svs"))
    labels = write(folder / "slide.geojson", collection(*annotated))
    model = folder / "mine.safetensors"
    roi = write(folder / "roi.geojson", collection(drawn(None, square(*REGION))))
    segment = ["--tissue", "none", "--image", "none", "--outlines", "exact", "--workers", 1, "--no-report"]
    classify = ["--permutations", 0, "-o", folder / "taught"]
    return Loop(
        folder,
        {
            "train": call("train", slide, *training, "-o", model),
            "segment": call("segment", slide, "--model", model, "--roi", roi, *segment, "-o", folder),
            "classify": call("classify", folder / "slide.wsinuc", "--labels", labels, *classify),
        },
    )


def annotations(*windows: str) -> Features:
    """The outlines of the example and these of its windows, or all."""
    features = json.loads((EXAMPLES / "CMU-1-Small-Region.nuclei.geojson").read_text())["features"]
    return [each for each in features if not windows or each["properties"].get("name") in (None, *windows)]


@contextmanager
def one_thread(config: object) -> Iterator[executor.ThreadExecutor]:
    """In place of processes, whose start takes longer than the rest of the loop."""
    yield executor.ThreadExecutor(1)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The loop on two windows and the features of an untrained denoiser, which tell dark from pale."""
    folder = tmp_path_factory.mktemp("loop")
    torch.manual_seed(0)
    denoiser = write_denoiser(folder / "denoiser.safetensors", UNet(SMALL))
    small = ["--denoiser", denoiser, "--timesteps", "10", "--blocks", "1,2", "--visits", 2, "--members", 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "open_executor", one_thread)
        patch.setattr(qupath_slide, "open_isolated", open_slide)
        yield go_round(folder, annotations("upper left", "lower left"), *small)


def test_the_model_has_the_classes_that_were_drawn_and_measured_itself(loop: Loop):
    check_model(loop, windows=[38, 46])


def test_the_result_lies_in_its_region_and_is_the_models(loop: Loop):
    check_result(loop)


def test_labels_become_classes_and_nuclei_stay_what_they_are(loop: Loop):
    check_classes(loop, agreement=0.75)


def test_the_geojson_is_a_data_set_with_the_same_pixels_and_classes(loop: Loop):
    check_pixels(loop)


def test_corrections_of_it_are_counted_and_change_what_they_should(loop: Loop):
    check_corrections(loop)


@pytest.mark.slow
def test_the_loop_on_a_real_denoiser_and_in_processes_of_its_own(tmp_path: Path):
    loop = go_round(tmp_path, annotations(), "--denoiser", "diffusion")
    check_model(loop, windows=[38, 46, 25, 14], aji=0.5)
    check_result(loop)
    check_classes(loop, agreement=0.8)
    check_pixels(loop)
    check_corrections(loop)


def check_model(loop: Loop, *, windows: list[int], aji: float = 0.2) -> None:
    text = loop.printed["train"]
    assert f"{len(windows)} images, {sum(windows)} nuclei; classes: Epithelium, Stroma" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("qupath/slide", "all "))]
    assert [int(row[1]) for row in rows] == [*windows, sum(windows)]
    assert float(rows[-1][4]) > aji
    assert f"Next: wsinuc segment {loop.folder / 'slide.svs'} --model {loop.folder / 'mine.safetensors'}" in text
    assert "slide_2" in (loop.folder / "mine.windows.html").read_text()
    model = load_checkpoint(loop.folder / "mine.safetensors", "segmenter")
    assert {each["name"]: tuple(each["color"]) for each in model.config["classes"]} == CLASSES


def check_result(loop: Loop) -> None:
    table = table_of(loop.result)
    assert len(table) > 20
    for name, low, high in (("x", X0, X1), ("y", Y0, Y1)):
        values = table[name].to_numpy()
        assert low <= values.min()
        assert values.max() <= high
    summary = json.loads((loop.result / "summary.json").read_text())
    assert summary["weights_sha256"] == load_checkpoint(loop.folder / "mine.safetensors", "segmenter").sha256
    assert sum(summary["counts"].values()) == len(table)


def check_classes(loop: Loop, *, agreement: float) -> None:
    """Who lies in an outline with a class was labelled by it; outlines and UUIDs are those of the first result."""
    before = table_of(loop.result)
    after = table_of(loop.taught)
    for name in ("uuid", "id", "geometry", "y", "x", "area_um2"):
        assert after[name].equals(before[name]), name
    assert after["original_class"].to_pylist() == before["class"].to_pylist()
    outlines = [each for each in annotations() if each["properties"]["classification"]["name"] in CLASSES]
    places = shapely.points(before["x"].to_numpy(), before["y"].to_numpy())
    shapes = [shapely.geometry.shape(each["geometry"]) for each in outlines]
    nuclei, inside = shapely.STRtree(shapes).query(places, predicate="within")
    labels = [outlines[k]["properties"]["classification"]["name"] for k in inside]
    assert f"give {len(set(nuclei.tolist()))} nuclei a class" in loop.printed["classify"]
    learned = np.array(after["class"].to_pylist())
    assert set(labels) == set(learned) == set(CLASSES)
    assert (learned[nuclei] == labels).mean() >= agreement
    # QuPath's file has the same nuclei with the same classes.
    assert not check_geojson(loop.taught / "nuclei.geojson").findings
    exported = {each["id"]: each["properties"]["classification"] for each in features_of(loop.taught)}
    assert {uuid: each["name"] for uuid, each in exported.items()} == dict(
        zip(after["uuid"].to_pylist(), learned.tolist(), strict=True)
    )
    assert {each["name"]: tuple(each["color"]) for each in exported.values()} == CLASSES


def check_pixels(loop: Loop) -> None:
    """The file that `classify` wrote, with the region drawn around it, has the pixels of the label image, or, where the
    model sees finer pixels than the slide has, nearly all of them."""
    features = [drawn("Region*", square(*REGION)), *features_of(loop.taught)]
    again = write(loop.folder / "again.geojson", collection(*features))
    dataset = open_dataset(f"{loop.folder / 'slide.svs'}={again}")
    (image,) = dataset
    written, finer = region_labels(loop.taught)
    pairs = Counter(zip(written.ravel().tolist(), image.labels.ravel().tolist(), strict=True))
    # The most frequent partner of each number comes last, so it stays.
    numbers = dict(sorted(pairs, key=pairs.__getitem__))
    moved = sum(count for (old, new), count in pairs.items() if numbers[old] != new)
    # One number stands for one number, and background for background: no pixel has moved but by rounding.
    assert moved <= (finer > 1) * FEW_MOVED * written.size
    assert len(numbers) == len(set(numbers.values()))
    assert numbers.pop(0) == 0
    assert len(numbers) == len(table_of(loop.taught)) == image.labels.max()
    names = [each.name for each in open_dataset(f"{loop.folder / 'slide.svs'}={again}").classes]
    classes = dict(
        zip(table_of(loop.taught)["id"].to_pylist(), table_of(loop.taught)["class"].to_pylist(), strict=True)
    )
    assert {old: names[image.classes[new] - 1] for old, new in numbers.items()} == classes


def check_corrections(loop: Loop) -> None:
    """One nucleus is deleted in QuPath, another one given a class."""
    first, second, *others = features_of(loop.taught)
    second["properties"]["classification"] = {"name": "Other", "color": [1, 2, 3]}
    corrected = collection(second, *others, drawn("Region*", square(*REGION)))
    path = write(loop.folder / "corrected.geojson", corrected)
    dataset = open_dataset(f"{loop.taught}={path}")
    note = f"corrections of nuclei: 1 deleted, 1 of another class; {len(others)} as they were"
    assert dataset.layout.notes[0] == f"corrected.geojson: {note}"
    assert [each.name for each in dataset.classes] == ["Epithelium", "Other", "Stroma"]
    (image,) = dataset
    table = table_of(loop.taught)
    deleted = table.filter(pa.compute.equal(table["uuid"], first["id"]))["id"].to_pylist()
    written, finer = region_labels(loop.taught)
    differ = (image.labels > 0) != ((written > 0) & ~np.isin(written, deleted))
    assert differ.mean() <= (finer > 1) * FEW_MOVED
    assert image.classes.tolist().count(2) == 1


def features_of(result: Path) -> Features:
    return list(json.loads((result / "nuclei.geojson").read_text())["features"])


def table_of(result: Path) -> pa.Table:
    return pa.concat_tables(list(iter_tables(result)))


def region_labels(result: Path) -> tuple[NDArray[np.uint32], float]:
    """The label image at the centres of the region's pixels, and how many of its own pixels a side one of these has."""
    labels = zarr.open_array(result / "labels.ome.zarr/labels/nuclei/0", mode="r")[:]
    finer = labels.shape[0] / SLIDE_HEIGHT
    rows = ((np.arange(Y0, Y1) + 0.5) * finer).astype(int)
    columns = ((np.arange(X0, X1) + 0.5) * finer).astype(int)
    return labels[np.ix_(rows, columns)], finer
