"""Commands that run no network do not pay for one: none of them imports PyTorch, nor what else they can do without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.oracle import MPP, OracleSegmenter, write_slide
from wsinuc.config import SegmentConfig
from wsinuc.workflows.segment.run import segment_slide

ROOT = Path(__file__).parents[2]
NETWORK = {"torch", "distributed", "matplotlib", "scipy.stats", "zarr"}
COMPILER = {"numba", "scipy", "PIL"}
"""What looking at results does without, too."""
RUN = """
import sys
from wsinuc_cli.main import main
for command in sys.argv[1:]:
    main(command.split(), standalone_mode=False)
    print("LOADED", *sys.modules, file=sys.stderr)
"""
LOOKING = NETWORK | COMPILER | {"dask", "shapely"}
PLANNING = NETWORK | {"dask", "numba", "shapely"}
PROCESSES = {
    "looking at results": {
        "info --models": NETWORK | COMPILER,
        "export plane.wsinuc --to csv,geoparquet": LOOKING,
        "status .": LOOKING - {"shapely"},
        "verify plane.wsinuc": LOOKING - {"shapely"},
    },
    "a GeoJSON file": {"check plane.wsinuc/nuclei.geojson": NETWORK | COMPILER | {"dask", "pyarrow"}},
    "planning, and data sets": {
        "info plane.tiff": PLANNING | {"pyarrow"},
        "segment plane.tiff -o new --dry-run": PLANNING,
        "segment plane.tiff -o new --dry-run --model breast --device cpu": PLANNING,
        "segment plane.tiff -o new --dry-run --model accurate": PLANNING,
        "data info images --mpp 0.5": NETWORK,
        "data split images -o split.json --parts train=0.5,test=0.5": NETWORK,
    },
}
"""Commands, and what is not loaded after each; those that do without most come first in a process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide and its result."""
    folder = tmp_path_factory.mktemp("light")
    slide = write_slide(folder / "plane.tiff", (600, 500), levels=1)
    config = SegmentConfig(tissue="none", block=256, mpp=MPP)
    segment_slide(slide, folder / "plane.wsinuc", config, segmenter=OracleSegmenter())
    return folder


@pytest.mark.parametrize("name", PROCESSES)
def test_what_a_command_does_without_is_not_imported(folder: Path, name: str) -> None:
    """Commands run one after the other in one process: each says what is loaded by then."""
    commands = PROCESSES[name]
    make_images(folder / "images")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
    process = [sys.executable, "-c", RUN, *commands]
    done = subprocess.run(process, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    lines = [line for line in done.stderr.splitlines() if line.startswith("LOADED")]
    for (command, spared), line in zip(commands.items(), lines, strict=True):
        loaded = set(line.split())
        assert "wsinuc_cli.main" in loaded
        assert not loaded & spared, command


def make_images(folder: Path) -> None:
    """Two annotated images."""
    import numpy as np
    from PIL import Image

    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    labels = np.zeros((64, 64), np.uint16)
    labels[10:20, 10:20] = 1
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((64, 64, 3), 230, np.uint8)).save(folder / "images" / name)
        Image.fromarray(labels).save(folder / "labels" / name)
