"""A small soak, see ``benchmarks/soak.py``: slides of which some are bad, one command that is
killed and started anew."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from soak import compare, soak


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_and_started_anew_every_slide_is_accounted_for(tmp_path: Path) -> None:
    result = soak(tmp_path, slides=8, kills=1)
    assert result.problems == ()
    assert (result.done, result.failed) == (6, 2)
    victim = next((tmp_path / "disturbed").glob("?*.wsinuc/nuclei.geojson"))
    victim.write_text("{}")
    assert compare(tmp_path / "reference", tmp_path / "disturbed") == [f"{victim.parent.stem}: other bytes"]
