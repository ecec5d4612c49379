"""Forks of a process that has loaded a model compute, where they would wait for threads that they do not have."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from helpers.killed import DONE, in_child
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SHARED_AMONG_THREADS = 2**20
"""Numbers that PyTorch does not go through in one thread if it has two."""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing forks unless it is asked to")
def test_a_fork_of_a_process_that_has_computed_does_not_wait_for_ever(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    weights = {"weight": torch.ones(SHARED_AMONG_THREADS)}
    save_checkpoint(Checkpoint(kind="segmenter", config={}, provenance={}, tensors=weights), path)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        load_checkpoint(path, "segmenter")
        end = in_child(partial(load_checkpoint, path, "segmenter"), prepare=partial(signal.alarm, 60))
        assert end.code == DONE, end.message
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
