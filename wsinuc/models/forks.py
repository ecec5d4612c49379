"""Forks of a process that has computed: PyTorch's threads do not survive them."""

from __future__ import annotations

import os
import sys
from functools import cache

import torch


@cache
def survive_forks() -> None:
    """Let children that fork from this process compute in one thread each, as the workers of a DataLoader do.

    The threads of OpenMP are in no fork, but its pool there counts on them: the first operation that the child would
    share among several threads waits for ever. Up to Python 3.13 every process of ``multiprocessing`` is a fork on
    Linux. Elsewhere none is unless a user asks for it.
    """
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=_compute_in_one_thread)


def _compute_in_one_thread() -> None:
    torch.set_num_threads(1)
