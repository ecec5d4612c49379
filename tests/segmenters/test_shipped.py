"""Shipped models by name: names, files, and what is said of a name whose file is not here."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from wsinuc.errors import CheckpointError
from wsinuc.segmenters import shipped
from wsinuc.segmenters.shipped import MODELS, WEIGHTS, ShippedModel, model_path, shipped_models
from wsinuc_cli.main import main


def test_the_default_is_a_name_for_a_shipped_file() -> None:
    assert shipped_models()[0] == "default"
    assert model_path("default").is_file()
    assert model_path("default").parent == WEIGHTS


def test_every_released_file_has_a_name() -> None:
    files = {model.file for model in MODELS}
    assert {path.name for path in WEIGHTS.glob("*.safetensors")} <= files
    sums = (WEIGHTS / "SHA256SUMS").read_text(encoding="utf-8").split()[1::2]
    assert {model_path(name).name for name in shipped_models()} == set(sums)


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
    assert [line.split()[0] for line in listed.output.splitlines()] == [model.name for model in MODELS]
    told = CliRunner().invoke(main, ["segment", "--help"])
    assert f"Shipped model ({', '.join(shipped_models())}" in " ".join(told.output.split())
