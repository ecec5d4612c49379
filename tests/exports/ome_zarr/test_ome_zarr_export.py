"""A result as an OME-Zarr of its own: both versions against the format's models, pixel for pixel the result's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v04 import Image as Image04
from ome_zarr_models.v05 import Image as Image05

from helpers.runs import SHAPE
from wsinuc.errors import ConfigError, DamageError, OutputError, SlideError
from wsinuc.exports.ome_zarr import export
from wsinuc.exports.ome_zarr.export import write_ome_zarr
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.workflows.maps.run import map_nuclei, write_map

MODELS = {"0.4": Image04, "0.5": Image05}


@pytest.fixture
def result(reference: Path) -> Path:
    return reference


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_and_slide_are_those_of_the_result(result: Path, tmp_path: Path, version: str) -> None:
    write_ome_zarr(result, tmp_path / "a.ome.zarr", version=version)  # type: ignore[arg-type]
    made = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    source = zarr.open_group(result / "labels.ome.zarr", mode="r")
    assert made.metadata.zarr_format == {"0.4": 2, "0.5": 3}[version]
    for name in ("0", "1", "labels/nuclei/0", "labels/nuclei/1", "labels/nuclei_class/0", "labels/nuclei_class/1"):
        np.testing.assert_array_equal(made[name][:], source[name][:])
        assert made[name].dtype == source[name].dtype
    model = MODELS[version].from_zarr(made)
    assert model.labels is not None
    assert {path.name for path in tmp_path.iterdir()} == {"a.ome.zarr"}


def test_version_0_4_says_what_0_5_does_where_0_4_has_it(result: Path, tmp_path: Path) -> None:
    write_ome_zarr(result, tmp_path / "a.ome.zarr", version="0.4")
    made = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    source = zarr.open_group(result / "labels.ome.zarr", mode="r")
    new = made.attrs["multiscales"][0]
    old = source.attrs["ome"]["multiscales"][0]
    assert new["version"] == "0.4"
    assert new["datasets"] == old["datasets"]
    assert made.attrs["omero"] == source.attrs["ome"]["omero"]
    label = made["labels/nuclei_class"].attrs["image-label"]
    assert label["version"] == "0.4"
    assert label["colors"] == source["labels/nuclei_class"].attrs["ome"]["image-label"]["colors"]
    assert (tmp_path / "a.ome.zarr" / "labels" / "nuclei" / "0" / "0" / "0").is_file()


def test_all_of_the_slide_is_copied_when_asked_for(result: Path, slide: Path, tmp_path: Path) -> None:
    write_ome_zarr(result, tmp_path / "a.ome.zarr", image="full")
    made = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    with open_slide(slide) as opened:
        pixels = opened.read(Box.of_shape(SHAPE))
    np.testing.assert_array_equal(made["0"][:], pixels.transpose(2, 0, 1))
    write_ome_zarr(result, tmp_path / "b.ome.zarr", image="none")
    assert (zarr.open_group(tmp_path / "b.ome.zarr", mode="r")["0"][:] == 255).all()


def test_a_slide_that_is_gone_is_named(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object, **options: object) -> None:
        raise SlideError("no such file")

    monkeypatch.setattr(export, "open_isolated", gone)
    with pytest.raises(SlideError, match=r"a copy 'full' of the slide needs .*plane\.tiff.*no such file.*leave"):
        write_ome_zarr(result, tmp_path / "a.ome.zarr", image="full")
    monkeypatch.setattr(export, "open_isolated", open_slide)
    monkeypatch.setattr(export, "fingerprint", lambda place: "another")
    with pytest.raises(SlideError, match="is not the slide of this result"):
        write_ome_zarr(result, tmp_path / "a.ome.zarr", image="full")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_refused_before_anything_is_written(result: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"version 0\.4 or 0\.5, got '0\.3'"):
        write_ome_zarr(result, tmp_path / "a.ome.zarr", version="0.3")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match=r"no summary\.json"):
        write_ome_zarr(tmp_path, tmp_path / "a.ome.zarr")
    with pytest.raises(OutputError, match="there is no folder"):
        write_ome_zarr(result, tmp_path / "missing" / "a.ome.zarr")
    broken = tmp_path / "broken.wsinuc"
    shutil.copytree(result, broken)
    next((broken / "labels.ome.zarr" / "labels" / "nuclei" / "0" / "c").rglob("0")).parent.rename(tmp_path / "x")
    with pytest.raises(DamageError, match="is missing"):
        write_ome_zarr(broken, tmp_path / "a.ome.zarr")
    (tmp_path / "a.ome.zarr").mkdir()
    with pytest.raises(OutputError, match="is there already: remove it"):
        write_ome_zarr(result, tmp_path / "a.ome.zarr")
    assert not list((tmp_path / "a.ome.zarr").iterdir())


def test_a_result_of_a_version_that_copied_no_slide_lies_on_white(result: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.wsinuc"
    shutil.copytree(result, old)
    for level in "01":
        shutil.rmtree(old / "labels.ome.zarr" / level)
    summary = json.loads((old / "summary.json").read_text())
    # Without a manifest and a seal, as the first version wrote it.
    kept = {key: value for key, value in summary.items() if key not in ("files", "seal")}
    kept["settings"].pop("image")
    (old / "summary.json").write_text(json.dumps(kept))
    write_ome_zarr(old, tmp_path / "a.ome.zarr")
    made = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert (made["0"][:] == 255).all()
    assert Image05.from_zarr(made).labels is not None
    write_map(map_nuclei(old), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


def test_a_disk_that_fills_up_leaves_nothing(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_copy_levels", full)
    with pytest.raises(OutputError, match="No space left"):
        write_ome_zarr(result, tmp_path / "a.ome.zarr")
    assert not list(tmp_path.iterdir())
