"""The wheel, installed into a fresh environment elsewhere, segments with the weights that it carries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "data" / "CMU-1-Small-Region.svs"
REGION = {"type": "Polygon", "coordinates": [[[600, 1000], [1048, 1000], [1048, 1448], [600, 1448], [600, 1000]]]}


def call(*command: object, cwd: Path) -> str:
    """What a command prints; nothing of this checkout is on its path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A fresh environment with the wheel in it; what wsinuc needs is borrowed from this one, without a network."""
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    call(sys.executable, "-m", "pip", *build, cwd=tmp_path)
    (wheel,) = tmp_path.glob("wsinuc-*.whl")
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Lines of .pth files are paths and no sites: the .pth of an editable install in that folder is not read.
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="environments are laid out in another way")
def test_the_wheel_segments_elsewhere(environment: Path, tmp_path: Path) -> None:
    where = call(environment / "bin" / "python", "-c", "import wsinuc; print(wsinuc.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)
    (tmp_path / "roi.geojson").write_text(json.dumps(REGION))
    call(environment / "bin" / "wsinuc", "segment", EXAMPLE, "--roi", "roi.geojson", "-o", "result", cwd=tmp_path)
    (summary,) = (tmp_path / "result").rglob("summary.json")
    assert json.loads(summary.read_text())["nuclei"] > 10
    assert "whole" in call(environment / "bin" / "wsinuc", "verify", summary.parent, cwd=tmp_path)
