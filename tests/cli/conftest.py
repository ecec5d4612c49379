"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.oracle import OracleSegmenter
from wsinuc_cli.main import main


@pytest.fixture
def wsinuc_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``wsinuc`` in an empty folder with the oracle for a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, *, device: OracleSegmenter())
    monkeypatch.setattr("wsinuc.segmenters.outline.outline_model", lambda model: OracleSegmenter())
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    """A small denoiser that has learned nothing."""
    import torch

    from helpers.files.denoisers import SMALL, write_denoiser
    from wsinuc.models.networks.unet import UNet

    torch.manual_seed(123)  # a training starts its own weights from its seed, 0
    return write_denoiser(tmp_path / "denoiser.safetensors", UNet(SMALL))
