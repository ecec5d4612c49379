"""A few damaged files into every parser; benchmarks/fuzz.py tries many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.fuzz.judge import judge
from helpers.fuzz.table import PARSERS

CALLS = 2


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path):
    made = PARSERS[name](tmp_path)
    for seed in range(CALLS):
        finding, _, _ = judge(made.read, made.damage(np.random.default_rng(seed), made.seeds))
        assert not finding, f"seed {seed}: {finding}"
