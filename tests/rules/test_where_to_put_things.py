"""A walk through "Where to put things" of ARCHITECTURE.md: one of each is added where the page says, and works."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import wsinuc
from wsinuc import slides
from wsinuc.exports.atomic import replacing
from wsinuc.exports.formats.registry import FORMATS, Format
from wsinuc.exports.qupath import geojson
from wsinuc.grid import Box
from wsinuc.metrics.segmentation import Scores, count_overlaps, score_overlaps
from wsinuc.models.networks import by_name
from wsinuc.models.networks.dense import DenseNetwork, DenseOutput
from wsinuc.nuclei import Frame, Nuclei, measure
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measured_names import FIXED, Measurement, columns_of, units_of
from wsinuc.nuclei.parquet import read_nuclei, write_nuclei
from wsinuc.slides.array import ArraySlide
from wsinuc.store import iter_nuclei
from wsinuc.workflows.evaluate import figures
from wsinuc_cli import main


def one_nucleus() -> Nuclei:
    """A square of 4 x 4 px at 0.5 um per pixel."""
    labels = np.zeros((10, 10), np.int32)
    labels[3:7, 3:7] = 1
    scores = np.full((3, 10, 10), 255, np.uint8)
    frame = Frame(mpp=0.5, downsample=(1.0, 1.0))
    return measure.measure(labels, scores, Box(0, 0, 10, 10), frame, [NucleusClass("nucleus", (0, 0, 0))]).with_ids(1)


def test_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbers(ArraySlide):
        """Grey values as text."""

        reader = "numbers"

        def __init__(self, path: Path, *, mpp: float | None = None) -> None:
            grey = np.loadtxt(path, dtype=np.uint8)
            super().__init__(np.repeat(grey[..., None], 3, axis=2), mpp=mpp)

    module = ModuleType("numbers_reader")
    module.Numbers = Numbers
    monkeypatch.setitem(sys.modules, "numbers_reader", module)
    monkeypatch.setitem(slides.READERS, "numbers", "numbers_reader:Numbers")
    (tmp_path / "slide.txt").write_text("1 2\n3 4\n")
    with slides.open_slide(tmp_path / "slide.txt", reader="numbers", mpp=0.5) as slide:
        assert slide.at(0.5).read(Box(0, 0, 2, 2))[..., 0].tolist() == [[1, 2], [3, 4]]


def test_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Brightness(DenseNetwork):
        def forward(self, x: torch.Tensor) -> DenseOutput:
            grey = x.mean(dim=1, keepdim=True)
            return DenseOutput(classes=grey, maps=grey)

    monkeypatch.setitem(by_name.NETWORKS, "brightness", lambda shape: Brightness())
    network = by_name.build_network("brightness", {})
    assert network(torch.ones(1, 3, 2, 2)).classes.tolist() == [[[[1, 1], [1, 1]]]]


def test_an_export(tmp_path: Path) -> None:
    def write_centroids(parts: Iterable[Nuclei], path: Path) -> None:
        with replacing(path) as file:
            for part in parts:
                np.savetxt(file, part.centroids, fmt="%g")

    write_centroids([one_nucleus(), one_nucleus()], tmp_path / "centroids.txt")
    assert (tmp_path / "centroids.txt").read_text() == "5 5\n5 5\n"


def test_a_format(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line per nucleus with its position, written by ``wsinuc export --to points``."""

    def write_points(result: Path, out: Path, *, digits: int = 1) -> None:
        with replacing(out) as file:
            for part in iter_nuclei(result):
                np.savetxt(file, part.centroids * part.frame.mpp, fmt=f"%.{digits}f")

    module = ModuleType("points_format")
    module.write_points = write_points
    monkeypatch.setitem(sys.modules, "points_format", module)
    points = Format(name="points", about="positions", writer="points_format:write_points", endings=(".txt",))
    monkeypatch.setitem(FORMATS, "points", points)
    path = wsinuc.export(reference, to="points", out=tmp_path / "points.txt", digits=2)
    assert len(np.loadtxt(path)) == len(wsinuc.read(reference))
    done = CliRunner().invoke(main.main, ["export", str(reference), "--to", "points", "-o", str(tmp_path)])
    assert done.exit_code == 0
    assert (tmp_path / "plane.txt").exists()


def test_a_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the table, in the file with its unit and, under QuPath's name, in GeoJSON."""

    def with_radius(
        self: PixelGroups, nuclei: Nuclei, labels: np.ndarray, foreground: np.ndarray, pixels: np.ndarray, box: Box
    ) -> Nuclei:
        radius = np.sqrt(nuclei.areas_px / np.pi).astype(np.float32) * nuclei.frame.mpp
        return replace(nuclei, measurements=nuclei.measurements | {"radius_um": radius})

    monkeypatch.setitem(FIXED, "radius_um", Measurement("radius_um", "shape", "um", "Nucleus: Radius"))
    monkeypatch.setattr(PixelGroups, "added", with_radius)
    plain = one_nucleus()
    nothing = np.zeros((10, 10), np.uint8)
    nuclei = PixelGroups(("shape",)).added(plain, nothing, nothing, None, Box(0, 0, 10, 10))
    assert tuple(nuclei.measurements)[-1] in columns_of(["shape"])
    write_nuclei(nuclei, tmp_path / "part.parquet")
    assert units_of(["radius_um"]) == {"radius_um": "um"}
    nuclei = read_nuclei(tmp_path / "part.parquet")
    assert nuclei.measurements["radius_um"] == pytest.approx([2 / np.sqrt(np.pi)])
    geojson.write_geojson([nuclei], tmp_path / "nuclei.geojson", run_id="walk")
    assert '"Nucleus: Radius":1.1284' in (tmp_path / "nuclei.geojson").read_text()


def test_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scores, "share_found", property(lambda s: s.found / s.true_nuclei), raising=False)
    monkeypatch.setattr(figures, "METRICS", (*figures.METRICS, "share_found"))
    truth = np.array([[1, 0, 2]], np.int32)
    scores = score_overlaps(count_overlaps(truth, np.array([[1, 0, 0]], np.int32)))
    evaluation = figures.Evaluation(images=(figures.ImageScores(name="a", scores=scores),))
    assert evaluation.means["share_found"] == 0.5


def test_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def greet() -> None:
        """Say hello."""
        click.echo("hello")

    module = ModuleType("wsinuc_cli.commands.greet")
    module.greet = greet
    monkeypatch.setitem(sys.modules, "wsinuc_cli.commands.greet", module)
    monkeypatch.setitem(main.COMMANDS, "greet", "Say hello.")
    runner = CliRunner()
    assert runner.invoke(main.main, ["greet"]).output == "hello\n"
    assert "  greet " in runner.invoke(main.main, ["--help"]).output
