"""Batches on one process and on several: the same samples in the same order, and errors that arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from wsinuc.errors import CheckpointError, SynthesisError
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.samplers import SamplerConfig, sample
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.pixels import from_network
from wsinuc.workflows.synthesize.batches import Maker, _work, batches, generate
from wsinuc.workflows.synthesize.config import seed_of
from wsinuc.workflows.synthesize.folder import SyntheticSample

TINY = UNetConfig(base=32, multipliers=(1,), res_blocks=1, attention_factors=(), middle_attention=False)


@dataclass(frozen=True)
class Noise:
    """Images by a network of random weights; ``fault`` tells a process how to end."""

    fault: str = ""

    def open(self) -> Maker:
        if self.fault == "open":
            raise CheckpointError("no such weights")
        torch.manual_seed(0)
        unet, process = UNet(TINY).eval(), GaussianDiffusion()
        for parameter in unet.parameters():
            torch.nn.init.normal_(parameter, std=0.05)

        def make(numbers: range) -> list[SyntheticSample]:
            if self.fault == "killed" and 3 in numbers:
                os._exit(9)
            if self.fault == "nan" and 3 in numbers:
                raise SynthesisError("step 1 of 2: sample 1 of the batch is no number")
            if self.fault == "sleepy" and 2 in numbers:
                time.sleep(3600)
            if self.fault == "bug" and 3 in numbers:
                raise ZeroDivisionError("by what")
            seeds = [seed_of(0, k, "image") for k in numbers]
            found = sample(process, unet, (3, 16, 16), seeds, SamplerConfig("ddpm", 2), device="cpu")
            blank = np.zeros((16, 16), np.int32)
            return [
                SyntheticSample(index=k, image=image, labels=blank)
                for k, image in zip(numbers, from_network(found), strict=True)
            ]

        return make


def images(recipe: Noise, count: int, size: int, workers: int) -> dict[int, bytes]:
    made = generate(recipe, batches(count, size, frozenset()), workers=workers)
    found = [sample for batch in made for sample in batch]
    assert [s.index for s in found] == sorted(s.index for s in found)
    return {s.index: s.image.tobytes() for s in found}


def test_only_batches_with_missing_samples_are_made_and_always_whole() -> None:
    assert batches(5, 2, frozenset()) == [range(0, 2), range(2, 4), range(4, 6)]
    assert batches(5, 2, frozenset({0, 1, 3})) == [range(2, 4), range(4, 6)]
    assert batches(5, 2, frozenset({0, 1, 4})) == [range(2, 4)]
    assert batches(4, 2, frozenset(range(4))) == []


def test_two_processes_make_what_one_makes() -> None:
    alone, both = images(Noise(), 5, 2, 1), images(Noise(), 5, 2, 2)
    assert alone == both
    assert sorted(alone) == list(range(6))
    assert len(set(alone.values())) == 6


def test_a_process_that_is_killed_is_missed() -> None:
    with pytest.raises(SynthesisError, match=r"samples 2 to 3 ended with code 9.*fewer workers"):
        images(Noise("killed"), 4, 2, 2)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("open", CheckpointError, "no such weights"),
        ("nan", SynthesisError, "samples 2 to 3: step 1 of 2: sample 1"),
        ("bug", SynthesisError, "ZeroDivisionError: by what"),
    ],
)
def test_a_process_says_why_it_ends(fault: str, error: type[Exception], said: str) -> None:
    """Its own end of the pipe, asked from here."""
    ours, theirs = Pipe()
    ours.send(range(2, 4))
    _work(Noise(fault), theirs)
    found = ours.recv()
    assert isinstance(found, error)
    assert said in str(found)


def test_errors_of_one_process_name_the_samples() -> None:
    with pytest.raises(SynthesisError, match="samples 2 to 3: step 1"):
        images(Noise("nan"), 6, 2, 1)
    with pytest.raises(ZeroDivisionError):
        images(Noise("bug"), 6, 2, 1)


def test_threads_of_the_caller_are_given_back() -> None:
    before = torch.get_num_threads()
    images(Noise(), 2, 2, 1)
    assert torch.get_num_threads() == before


def test_parts_of_samples_have_seeds_of_their_own() -> None:
    found = {seed_of(s, k, part) for s in range(3) for k in range(50) for part in ("structure", "image", "layout")}
    assert len(found) == 450
    assert 0 <= min(found) <= max(found) < 2**63


GENERATING = """
import signal
from test_generate import Noise, batches, generate
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when the tests run as a background job
    for made in generate(Noise("sleepy"), batches(6, 2, frozenset()), workers=2):
        print("made", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
@pytest.mark.parametrize(("signum", "group"), [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_processes_leave_signals_to_their_parent_and_end_with_it(tmp_path: Path, signum: int, group: bool) -> None:
    (tmp_path / "generating.py").write_text(GENERATING)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "generating.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "made\n"  # the next batches take an hour
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 2
    (os.killpg if group else os.kill)(parent.pid, signum)
    _, err = parent.communicate(timeout=240)
    _, alive = psutil.wait_procs(family, timeout=240)
    assert not alive
    assert err.count("Traceback") == (1 if signum == signal.SIGINT else 0), (
        err
    )  # the parent's alone: no command catches it
