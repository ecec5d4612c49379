"""Runs over one slide of known nuclei, shared by the tests of whole runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from helpers.oracle import OracleSegmenter, write_slide
from wsinuc.config import SegmentConfig
from wsinuc.workflows.segment.run import segment_slide

SHAPE = (900, 700)
FILES = ["labels.ome.zarr", "nuclei", "nuclei.geojson", "preview.png", "report.html", "summary.json"]


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "plane.tiff", SHAPE, levels=2)


def config(**changes: object) -> SegmentConfig:
    return SegmentConfig(**{"tissue": "none", "block": 256, "workers": 2, **changes})  # type: ignore[arg-type]


def run(
    slide: Path, out: Path, segmenter: OracleSegmenter | None = None, on_event=None, executor=None, **changes: object
):
    used = segmenter or OracleSegmenter()
    return segment_slide(slide, out, config(**changes), segmenter=used, executor=executor, on_event=on_event)


@pytest.fixture(scope="session")
def reference(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "plane.wsinuc"
    run(slide, out, workers=1)
    return out


def tree(path: Path) -> dict[str, str]:
    """Hash of every file but the one that holds clock readings."""
    return {
        str(item.relative_to(path)): hashlib.sha256(item.read_bytes()).hexdigest()
        for item in sorted(path.rglob("*"))
        if item.is_file() and item.name != "summary.json"
    }


class Stop(Exception):
    pass
