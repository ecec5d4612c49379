"""Has this machine what a run takes: memory, threads, open files, a disk with room, a device that computes?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from wsinuc.errors import DeviceError
from wsinuc.models.devices import pick_device, pick_dtype
from wsinuc.workflows.doctor.findings import Finding, fail, ok, warn

LOW_MEMORY = 4e9
LOW_DISK = 5e9
SLOW_DISK_MB_S = 50
LOW_FILES = 1024
_PROBE_MB = 32
_MATRIX = 1024
_TIMED_S = 0.2  # that products are repeated for, at least


def check_memory() -> Finding:
    """Memory that is free now, within the limit of the container or the batch job if there is one."""
    memory = psutil.virtual_memory()
    limit = _cgroup_limit()
    free = min(memory.available, limit or memory.available)
    text = f"{free / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if limit and limit < memory.total:
        text += f", {limit / 1e9:.1f} GB allowed to this job"
    if free < LOW_MEMORY:
        return warn(
            "memory", text, "a run takes 1 to 3 GB and what the network needs: close programs, or lower --threads"
        )
    return ok("memory", text)


def check_threads() -> Finding:
    """Processors that this process may use, and what PyTorch takes of them."""
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count() or 1
    text = f"{usable} of {os.cpu_count()} processors usable, PyTorch takes {torch.get_num_threads()}"
    if torch.get_num_threads() > usable:
        return warn("threads", text, f"more threads than processors slow each other down: set OMP_NUM_THREADS={usable}")
    return ok("threads", text)


def check_open_files() -> Finding:
    """How many files may be open at once."""
    if sys.platform == "win32":
        return ok("open files", "no limit that matters")
    import resource  # absent on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    text = "no limit" if unlimited else f"at most {soft}"
    if not unlimited and soft < LOW_FILES:
        return warn("open files", text, f"several slides or workers may need more: ulimit -n {4 * LOW_FILES}")
    return ok("open files", text)


def check_output(folder: Path) -> Finding:
    """Room and speed of the disk where results go; writes and removes one file of 32 MB."""
    # A run makes the folder; what counts is the disk on which it will lie.
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    # Random bytes, because a file system that compresses would write zeros in no time.
    block = os.urandom(2**20)
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            begin = time.perf_counter()
            for _ in range(_PROBE_MB):
                file.write(block)
            file.flush()
            # Without this it would be the speed of memory.
            os.fsync(file.fileno())
            speed = _PROBE_MB * 2**20 / 1e6 / (time.perf_counter() - begin)
    except OSError as error:
        return fail("output", f"cannot write to {parent}: {error.strerror}", "choose another folder with -o")
    free = shutil.disk_usage(parent).free
    text = f"{parent.absolute()}: {free / 1e9:.1f} GB free, writes {speed:.0f} MB/s"
    if free < LOW_DISK:
        return warn("output", text, "a large slide takes 1 to 5 GB: make room, or choose another disk with -o")
    if speed < SLOW_DISK_MB_S:
        return warn(
            "output", text, "a slow disk holds up the network: write to a local disk with -o, and copy the result"
        )
    return ok("output", text)


def check_device(device: str) -> Finding:
    """The device is there, and how fast it multiplies matrices in the precision that the network uses."""
    try:
        chosen = pick_device(device)
    except DeviceError as error:
        return fail("device", str(error), "choose another --device")
    dtype = pick_dtype(chosen)
    if chosen.type == "cuda":
        name = torch.cuda.get_device_name(chosen)
    else:
        name = chosen.type
    rate = _matrix_rate(chosen, dtype)
    text = f"{name}, {str(dtype).removeprefix('torch.')}, {rate / 1e9:,.0f} GFLOP/s"
    if chosen.type == "cpu":
        advice = "it works: a whole slide takes minutes with fast, hours with accurate; a GPU is many times as fast"
        return warn("device", f"{text}; no GPU", advice)
    return ok("device", text)


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product of square matrices, warmed up."""
    left, right = (torch.ones(_MATRIX, _MATRIX, device=device, dtype=dtype) for _ in range(2))
    # The first product pays for loading the library's kernels.
    _value(left @ right)
    count = 0
    elapsed = 0.0
    begin = time.perf_counter()
    while elapsed < _TIMED_S:
        _value(left @ right)
        count += 1
        elapsed = time.perf_counter() - begin
    return 2 * _MATRIX**3 * count / elapsed


def _value(product: torch.Tensor) -> float:
    """One element: asking for it waits until a GPU is done."""
    return float(product[0, 0])


def _cgroup_limit() -> int | None:
    """Bytes that the container or batch job may have; None without a limit."""
    # Version 2 of control groups, then version 1, which writes a number near 2**63 where there is no limit.
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < 2**60:
            return int(text)
    return None
