"""What is left where a write ends in its middle: the old file or nothing, and the same command writes the new one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import wsinuc
from helpers.files.annotations import collection, drawn, square, write
from helpers.killed import NAMED, REFUSED, Work, in_child, killed_at_name, killed_beyond, refused_beyond, without_rights
from helpers.oracle import write_slide
from helpers.runs import run
from wsinuc import aside, durable, own_files
from wsinuc.datasets.sampling.split import Split
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.training.state import TrainingState, append_log, read_log, trim_log
from wsinuc.workflows.evaluate.predictions import Prediction, write_label_image
from wsinuc.workflows.maps.run import NucleiMap, map_nuclei, write_map
from wsinuc.workflows.synthesize.folder import SyntheticSample, writing
from wsinuc.workflows.train.pixel_table import RowStore
from wsinuc.workflows.train.sweep_report import SweepScore, write_scores
from wsinuc.workflows.view.teach.feature_file import FeatureFile
from wsinuc_cli.main import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, limits of file sizes and capabilities")

SIGXFSZ = 25
OLD = b"old"
Files = dict[str, bytes]


def export(result: Path, folder: Path, to: str, name: str) -> None:
    wsinuc.export(result, to=to, out=folder / name, overwrite=True)


def count_regions(result: Path, folder: Path) -> None:
    regions = write(folder.parent / "regions.geojson", collection(drawn("Tumor", square(20, 20, 180, 180))))
    arguments = ["regions", str(result), str(regions), "-o", str(folder / "regions.csv"), "--overwrite"]
    outcome = CliRunner().invoke(main, [*arguments, "--bands", "20,50"], standalone_mode=False)
    if outcome.exception is not None:
        raise outcome.exception


@cache
def density(result: Path) -> NucleiMap:
    return map_nuclei(result, um=20.0)


def map_to(name: str, result: Path, folder: Path) -> None:
    write_map(density(result), folder / name)


def keep_checkpoint(result: Path, folder: Path) -> None:
    tensors = {"weights": torch.arange(20_000.0)}
    save_checkpoint(
        Checkpoint(kind="segmenter", config={}, provenance={}, tensors=tensors), folder / "model.safetensors"
    )


@cache
def state() -> TrainingState:
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    # What is saved of an optimiser is its state alone; to make a real one takes a second of imports.
    optimiser = SimpleNamespace(state_dict=lambda: {"state": {}, "param_groups": []})
    return TrainingState(model, optimiser, dict(model.state_dict()), {"seed": 0})  # type: ignore[arg-type]


def keep_state(result: Path, folder: Path) -> None:
    state().save(folder / "model.state")


def divide(result: Path, folder: Path) -> None:
    Split(parts={"train": tuple((f"image {k}", None) for k in range(50))}, dataset="folder", seed=0).save(
        folder / "split.json"
    )


def sweep(result: Path, folder: Path) -> None:
    score = SweepScore(denoiser="denoiser", timesteps=(50,), blocks=(1,), width=32, mean_iou=0.5, dice=0.5)
    write_scores([score] * 300, Path("denoiser.safetensors"), folder)


def predict(result: Path, folder: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (64, 64))
    write_label_image(Prediction(labels, classes=np.ones(9, np.int32)), folder, "field", ["Nucleus"])


def synthesize(result: Path, folder: Path) -> None:
    settings = {"method": "nudiff", "mpp": 0.5, "seed": 0, "sampler": "ddim", "steps": 1, "guidance": 0.0}
    with writing(folder, settings | {"checkpoints": {}}, ()) as target:
        for index in range(3):
            if index not in target.done:
                image = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
                target.add(SyntheticSample(index=index, image=image, labels=np.ones((16, 16), np.int32)))


def label(result: Path, folder: Path) -> None:
    features = {f"{k}": {"type": "Feature", "id": f"{k}", "geometry": None, "properties": {}} for k in range(99)}
    FeatureFile(folder / "plane.labels.geojson").edit(lambda _: features)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "csv": partial(export, to="csv", name="nuclei.csv"),
    "geoparquet": partial(export, to="geoparquet", name="nuclei.parquet"),
    "geojson": partial(export, to="geojson", name="nuclei.geojson"),
    "ome-zarr": partial(export, to="ome-zarr", name="nuclei.ome.zarr"),
    "regions": count_regions,
    "map.tif": partial(map_to, "map.tif"),
    "checkpoint": keep_checkpoint,
    "state": keep_state,
    "split": divide,
    "sweep": sweep,
    "predictions": predict,
}
"""What commands write, each into a folder that may hold what was written there earlier."""
if find_spec("anndata") is not None:
    WRITERS |= {name: partial(export, to="anndata", name=name) for name in ("nuclei.h5ad", "nuclei.zarr")}
if find_spec("spatialdata") is not None:
    WRITERS["spatialdata"] = partial(export, to="spatialdata", name="nuclei.spatialdata.zarr")
BEGINNERS: dict[str, Callable[[Path, Path], None]] = {
    "map.ome.zarr": partial(map_to, "map.ome.zarr"),
    "labels": label,
    "synthesize": synthesize,
}
"""What is written where nothing is, or goes on where it stopped."""


def files(folder: Path) -> Files:
    """Content of what has its name, by path; what is half done has none."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if ".partial" not in name}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def made_old(whole: Path, folder: Path) -> None:
    """A copy of what a writer has written, each file of which says that it is an old one."""
    shutil.copytree(whole, folder)
    for path in folder.rglob("*"):
        if path.is_file() and ".zarr" not in path.relative_to(folder).as_posix():
            path.write_bytes(OLD)
    for path in folder.glob("*.zarr"):
        (path / "old").write_bytes(OLD)


def of_one_name(content: Files) -> dict[str, Files]:
    """Files by what appears as a whole: a file, or a folder of Zarr."""
    whole: dict[str, Files] = {}
    for name, value in content.items():
        whole.setdefault(name.split("/")[0] if ".zarr" in name else name, {})[name] = value
    return whole


@pytest.fixture(scope="module")
def renames() -> Iterator[list[object]]:
    """What was given a name in this process, in order."""
    done: list[object] = []
    replace = os.replace

    def noted(source: Path, target: Path, **options: object) -> None:
        done.append(target)
        replace(source, target, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", noted)
        yield done


def ends(limit: int, last: int) -> dict[str, tuple[Work, int]]:
    """Ways in which a write ends before it is done, and the code that it ends with."""
    return {
        "killed in the middle": (lambda: killed_beyond(limit), -SIGXFSZ),
        "killed before it has its name": (lambda: killed_at_name(last, after=False), NAMED),
        "killed when it has its name": (lambda: killed_at_name(last, after=True), NAMED),
        "full disk": (lambda: refused_beyond(limit), REFUSED),
        "read-only": (without_rights, REFUSED),
    }


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small result."""
    folder = tmp_path_factory.mktemp("small")
    slide = write_slide(folder / "plane.tiff", (200, 260), levels=1)
    run(slide, folder / "plane.wsinuc", workers=1)
    return folder / "plane.wsinuc"


@pytest.mark.parametrize("name", [*WRITERS, *BEGINNERS])
def test_a_write_that_ends_early(name: str, result: Path, renames: list[object], tmp_path: Path) -> None:
    replaces = name in WRITERS
    writer = partial((WRITERS | BEGINNERS)[name], result)
    whole = tmp_path / "whole"
    whole.mkdir()
    renames.clear()
    writer(whole)
    last = max(1, len(renames))
    new = files(whole)
    limit = max(map(len, new.values())) // 2
    for way, (prepare, code) in ends(limit, last).items():
        folder = tmp_path / way
        if replaces:
            made_old(whole, folder)
        else:
            folder.mkdir()
        old = files(folder)
        there = names(folder)
        if way == "read-only":
            for path in [folder, *(each for each in folder.rglob("*") if each.is_dir())]:
                path.chmod(0o555)
        end = in_child(partial(writer, folder), prepare)
        folder.chmod(0o755)
        assert end.code == code, (way, end)
        for what, content in of_one_name(files(folder)).items():
            wholes = of_one_name(old).get(what), of_one_name(new).get(what)
            assert not replaces or content in wholes, f"{way}: {what} is neither the old one nor the new one"
        if code == REFUSED:
            assert "\n" not in end.message
            assert "unexpected" not in end.message
            assert not {each for each in names(folder) if ".partial" in each}, way
        elif replaces or files(folder) != new:
            writer(folder)
            assert files(folder) == new, way
            assert names(folder) == names(whole), way
        if way == "read-only":
            assert names(folder) == there


def test_rows_of_features_go_with_the_process(tmp_path: Path) -> None:
    def work() -> None:
        store = RowStore(8, None, 1.0, tmp_path)
        store.append(torch.ones(4, 8))
        os._exit(NAMED)

    assert in_child(work).code == NAMED
    assert list(tmp_path.iterdir()) == []


def test_a_log_goes_on_in_a_line_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "model.jsonl"
    log.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    trim_log(log, 1)
    append_log(log, {"step": 2})
    assert [line["step"] for line in read_log(log)] == [1, 2]


def test_a_set_is_its_own_from_the_first_moment_on(tmp_path: Path) -> None:
    """Whenever it is killed: what lies in the folder without settings belongs to somebody else."""
    for number in (1, 2, 3):
        end = in_child(partial(synthesize, tmp_path, tmp_path / "set"), partial(killed_at_name, number, after=False))
        assert end.code == NAMED
    synthesize(tmp_path, tmp_path / "set")


# --- folders in which something is made -----------------------------------------------------------------------


def make(target: Path) -> None:
    with aside.appearing(target) as new:
        new.mkdir()
        (new / "zarr.json").write_bytes(b"new")


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_folder_that_makes_room_is_never_lost(
    can_exchange: bool, number: int, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(durable, "exchange", lambda one, other: False)
    target = tmp_path / "a.zarr"
    target.mkdir()
    (target / "zarr.json").write_bytes(OLD)
    in_child(partial(make, target), partial(killed_at_name, number, after=after))
    before = (target / "zarr.json").read_bytes() if target.exists() else None
    assert before in (None, OLD, b"new")
    assert before is not None or not can_exchange
    with aside.area_beside(target):
        # What had been moved away is back before anything else is done.
        assert (target / "zarr.json").read_bytes() in (OLD, b"new")
    make(target)
    assert files(tmp_path) == {"a.zarr/zarr.json": b"new"}
    assert names(tmp_path) == {"a.zarr", "a.zarr/zarr.json"}


def test_whoever_is_at_work_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    with aside.appearing(target) as first:
        first.mkdir()
        make(target)
        assert first.is_dir()
        (first / "zarr.json").write_bytes(b"first")
    assert files(tmp_path) == {"a.zarr/zarr.json": b"first"}


def test_areas_without_a_sign_go_when_nothing_is_in_them(tmp_path: Path) -> None:
    empty, torn, full = (tmp_path / f"a.zarr.{k}{k:015d}.partial" for k in range(3))
    for area in (empty, torn, full):
        area.mkdir()
    (torn / aside.WRITER).write_bytes(b'{"pid": ')
    (full / "precious").touch()
    assert aside.left_behind(tmp_path / "a.zarr") == [empty, torn]
    assert aside.left_behind(tmp_path / "b.zarr") == []


def test_an_area_that_is_cleared_away_before_it_is_signed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = own_files.create
    cleared: list[Path] = []

    def create_late(path: Path) -> BinaryIO:
        if not cleared:
            cleared.append(path.parent)
            path.parent.rmdir()
        return create(path)

    monkeypatch.setattr(own_files, "create", create_late)
    make(tmp_path / "a.zarr")
    assert files(tmp_path) == {"a.zarr/zarr.json": b"new"}
