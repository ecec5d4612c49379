"""One result for all clients, of a slide whose pixels are no pixels of the view: a third of a micrometre, read at half.

Only ``make test-clients`` installs the clients; without them nothing here is collected.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from helpers import runs
from wsinuc.nuclei import Nuclei, concatenate
from wsinuc.store import iter_nuclei

if find_spec("squidpy") is None:
    collect_ignore_glob = ["test_*.py"]

MPP = 0.3
"""um per level-0 pixel, which the oracle reads at 0.5."""


@pytest.fixture(scope="session")
def result(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clients") / "plane.wsinuc"
    runs.run(slide, out, mpp=MPP)
    return out


@pytest.fixture(scope="session")
def nuclei(result: Path) -> Nuclei:
    nuclei = concatenate(list(iter_nuclei(result)))
    assert len(nuclei) > 100
    assert set(np.unique(nuclei.classes)) == {0, 1}
    assert nuclei.frame.downsample[0] == pytest.approx(0.5 / MPP, rel=0.01)
    return nuclei
