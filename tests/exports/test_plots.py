"""Plots: files that open, hold more than white, and are the same for the same figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.exports.pictures.plots import (
    draw_curves,
    draw_detector,
    draw_heat_map,
    draw_histograms,
    draw_reliability,
)
from wsinuc.metrics.calibration import reliability

DRAWINGS = {
    "curves": lambda path: draw_curves(
        {"a": ([4, 8], [0.1, 0.2]), "b": ([4, 8], [[0.3, 0.4], [0.1, 0.1]])}, path, x="n", y="AJI"
    ),
    "heat": lambda path: draw_heat_map(
        [[0.1, np.nan], [0.3, 0.4]], ["50", "150"], ["6,8", "10,12"], path, x="blocks", y="t"
    ),
    "empty heat": lambda path: draw_heat_map([[np.nan]], ["50"], ["6"], path, x="blocks", y="t"),
    "reliability": lambda path: draw_reliability(reliability([0.6, 0.9, 0.95], [False, True, True]), path),
    "detector": lambda path: draw_detector(
        {"doubt (AUC 1)": ([0.0, 1.0], ([0, 0, 1], [0, 1, 1]))}, path, title="wrong"
    ),
    "histograms": lambda path: draw_histograms(
        {"area": {"real": [1, 2, 3, 400], "made": []}, "same": {"real": [5.0, 5.0]}, "none": {"real": [], "made": []}},
        path,
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawn_and_repeated(name: str, tmp_path: Path) -> None:
    for file in ("one.png", "two.png"):
        DRAWINGS[name](tmp_path / file)
    with Image.open(tmp_path / "one.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 150
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
