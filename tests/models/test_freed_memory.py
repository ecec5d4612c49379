"""Freed memory is used again: large arrays made over and over do not fault their pages in anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsinuc.models.freed_memory import ENVIRONMENT, environment_of_children

ROOT = Path(__file__).parents[2]
TRAINING = """
import sys
from pathlib import Path
import torch
from wsinuc.models.training.config import FitConfig
from wsinuc.models.training.loop import fit
model = torch.nn.Linear(1, 1)
fit(model, lambda k: model(torch.ones(1, 1)).mean(), FitConfig(steps=1, warmup=0), state=Path(sys.argv[1]))
"""
COUNT = """
import resource
import numpy as np
from wsinuc.models.freed_memory import keep_freed_memory
kept = {keep}
def faults():
    np.ones(60 * 2**20, np.uint8)  # above the 32 MiB from which glibc always maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults()
before = faults()
for _ in range(10):
    after = faults()
print(kept, after - before)
"""

HOLES = """
import numpy as np
import psutil
from wsinuc.models.freed_memory import give_back_holes, keep_freed_memory
assert not give_back_holes(above_bytes=0), "nothing is kept, so there is nothing to give back"
kept = keep_freed_memory()
pieces = [np.ones(2**20, np.uint8) for _ in range(400)]
kept_pieces = pieces[::2]  # every second MiB is free, between others that are not
del pieces
held = psutil.Process().memory_info().rss
given = give_back_holes(above_bytes=2**40), give_back_holes(above_bytes=2**20)
print(kept, given == (False, True), held - psutil.Process().memory_info().rss)
"""


PREPARED = "__import__('wsinuc.models.devices', fromlist=['']).prepare_device('cpu').type == 'cpu'"
"""Imports PyTorch, which takes seconds that the other processes do without."""


def run(keep: str = "keep_freed_memory()", **variables: str) -> tuple[str, int]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    script = COUNT.replace("{keep}", keep)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_large_arrays_are_made_of_pages_that_are_there() -> None:
    kept, faults = run()
    if kept == "False":
        pytest.skip("another C library")
    assert faults < 1000  # ten arrays have 153,600 pages


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_work_on_a_cpu_keeps_what_it_frees() -> None:
    kept, faults = run(PREPARED)
    assert kept == "True"
    if run()[0] == "False":
        pytest.skip("another C library")
    assert faults < 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_training_keeps_what_it_frees_however_it_was_started(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    script = TRAINING + COUNT.replace("{keep}", "True")
    command = [sys.executable, "-c", script, str(tmp_path / "a.state")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    if run()[0] == "False":
        pytest.skip("another C library")
    assert int(done.stdout.split()[1]) < 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_process_that_was_started_so_keeps_it_in_all_threads() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **ENVIRONMENT}
    counting = COUNT.replace("{keep}", "keep_freed_memory()").splitlines()
    in_thread = "import threading\n\ndef work():\n" + "".join(f"    {line}\n" for line in counting)
    script = f"{in_thread}\nthread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < 1000


def test_children_are_told_unless_the_user_has_tuned_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD", *ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    told = environment_of_children()
    if not told:
        pytest.skip("another C library")
    assert told == ENVIRONMENT
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert environment_of_children() == {}


def test_an_allocator_that_the_user_has_tuned_is_left_alone() -> None:
    assert run(MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_holes_go_back_where_much_is_held_and_only_there() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", HOLES], env=environment, capture_output=True, text=True, check=True)
    kept, right, freed = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library")
    assert right == "True"
    assert int(freed) > 150 * 2**20
