"""Shipped models by name: names, files, and what is said of a name whose file is not here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import wsinuc
from wsinuc.errors import CheckpointError
from wsinuc.models.networks.by_name import build_network
from wsinuc.segmenters import load_segmenter, shipped
from wsinuc.segmenters.shipped import (
    DENOISERS,
    MODELS,
    WEIGHTS,
    ShippedModel,
    model_path,
    shipped_denoisers,
    shipped_models,
)
from wsinuc.segmenters.sizes import model_size
from wsinuc_cli.main import main


def test_the_default_is_a_name_for_a_shipped_file() -> None:
    assert shipped_models()[0] == "default"
    assert model_path("default").is_file()
    assert model_path("default").parent == WEIGHTS


def test_every_released_file_has_a_name() -> None:
    files = {model.file for model in (*MODELS, *DENOISERS)}
    assert {path.name for path in WEIGHTS.glob("*.safetensors")} <= files
    sums = (WEIGHTS / "SHA256SUMS").read_text(encoding="utf-8").split()[1::2]
    assert {model_path(name).name for name in (*shipped_models(), *shipped_denoisers())} == set(sums)


def test_a_name_may_stand_for_the_file_of_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = (ShippedModel("default", "fast.safetensors", ""), ShippedModel("fast", "fast.safetensors", ""))
    monkeypatch.setattr(shipped, "MODELS", (*models, ShippedModel("accurate", "accurate.safetensors", "")))
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    assert shipped_models() == ()
    with pytest.raises(CheckpointError, match="ships no model 'fast': there are none; or give the path"):
        model_path("fast")
    (tmp_path / "fast.safetensors").write_bytes(b"")
    assert shipped_models() == ("default", "fast")
    assert model_path("default") == model_path("fast") == tmp_path / "fast.safetensors"
    with pytest.raises(CheckpointError, match="ships no model 'accurate': there are default, fast;"):
        model_path("accurate")


def test_other_names_are_paths(tmp_path: Path) -> None:
    assert model_path("mine.safetensors") == Path("mine.safetensors")
    (tmp_path / "model").write_bytes(b"")
    assert model_path(str(tmp_path / "model")) == tmp_path / "model"
    with pytest.raises(CheckpointError, match=r"no model is called 'quick': there .* default"):
        model_path("quick")


def test_the_command_line_names_them() -> None:
    listed = CliRunner().invoke(main, ["info", "--models"])
    assert listed.exit_code == 0, listed.output
    head, *rows, _ = listed.output.splitlines()
    assert head.split() == ["name", "file", "parameters", "um", "per", "px", "channels", "description"]
    assert [row.split()[0] for row in rows] == [model.name for model in (*MODELS, *DENOISERS)]
    assert rows[1].split()[:7] == ["accurate", "11.3", "MB", "5.56", "M", "0.25", "4"]
    told = CliRunner().invoke(main, ["segment", "--help"])
    assert f"A shipped model ({', '.join(shipped_models())}" in " ".join(told.output.split())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_sizes_are_those_of_the_loaded_models(model: ShippedModel) -> None:
    size = model_size(model.path)
    loaded = load_segmenter(model.name, device="cpu")
    assert (size.mpp, size.channels) == (loaded.mpp, loaded.channels)
    assert size.classes == tuple(each.name for each in loaded.classes)
    assert size.bytes == sum(path.stat().st_size for path in size.files)


def test_a_joint_model_counts_each_file_once_and_its_members() -> None:
    size = {model.name: model_size(model.path) for model in MODELS}
    assert [path.stem for path in size["accurate"].files] == ["accurate", "diffusion", "student"]
    assert size["accurate"].parameters == size["diffusion"].parameters + size["student"].parameters
    # Built anew: a loaded network has its normalisation folded into its convolutions.
    network = build_network("unet", {"base": 16, "classes": 2, "fold": 2, "levels": 4, "maps": 1, "smooth": True})
    assert size["student"].parameters == sum(each.numel() for each in network.parameters())


def test_what_is_no_model_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is no checkpoint of wsinuc"):
        model_size(tmp_path / "x.safetensors")


def test_listing_models_needs_no_pytorch() -> None:
    code = (
        "import sys; from wsinuc.segmenters.sizes import model_size as m; from wsinuc.segmenters.shipped import MODELS"
    )
    code += "; [m(each.path) for each in MODELS]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(wsinuc.__file__).parents[1])
