"""Which workers do the work, as frozen data: what the command line builds and ``open_executor`` reads.

It stands in a file of its own, so that building it costs no import of Dask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import ConfigError

KINDS = ("threads", "processes", "scheduler")
ACCELERATOR = "accelerator"
"""Name of the worker resource; ``dask worker --resources accelerator=2`` takes two blocks at once."""
MIN_MEMORY = 300_000_000
"""Least bytes of a process: with Dask, PyTorch and the model ``fast`` it takes 340 MB before it reads a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """Which workers, and how patient to be with them."""

    kind: str = "threads"
    """``threads`` of this process, ``processes`` on this machine, or the workers of a ``scheduler`` that runs already.
    """
    workers: int = 2
    """Threads, or processes; with ``gpus`` there is one process for each of these instead."""
    threads: int | None = None
    """Blocks at once in each process; None is 1, and 4 for a process with a GPU, which would idle
    while one block is measured."""
    gpus: tuple[str, ...] = ()
    """Devices as ``CUDA_VISIBLE_DEVICES`` names them, for ``processes``."""
    memory_limit: str = "auto"
    """Memory of each process, such as ``4GB``; one that exceeds it is restarted. ``auto`` shares out the machine's."""
    address: str | None = None
    """Address of the scheduler: ``tcp://host:8786`` or ``tls://host:8786``."""
    scheduler_file: Path | None = None
    """File that the scheduler wrote its address to, instead of ``address``."""
    tls_ca_file: Path | None = None
    """Certificate of the authority that signed those of scheduler and workers."""
    tls_cert: Path | None = None
    """Certificate of this client."""
    tls_key: Path | None = None
    """Private key of that certificate."""
    retries: int = 3
    """How often a task that failed, or lost its worker, is tried again."""
    task_timeout_s: float | None = 3600.0
    """A task that takes longer hangs: its worker is restarted. None waits for ever."""
    wait_s: float = 60.0
    """How long to wait for the scheduler, and for its first worker."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown kind of executor {self.kind!r}: expected one of {', '.join(KINDS)}")
        for name, low in (("workers", 1), ("threads", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        # Written so that nan is refused, too.
        if self.task_timeout_s is not None and not self.task_timeout_s > 0:
            raise ConfigError(f"a block needs more than {self.task_timeout_s:g} s: give a limit above 0, or none")
        if self.memory_limit != "auto":
            self.memory_limit_bytes()
        self._check_kind()
        self._check_tls()

    def memory_limit_bytes(self) -> int:
        """Bytes of each process; for a limit that is not ``auto``."""
        # Takes Dask, which the default limit does without.
        from dask.utils import parse_bytes

        try:
            size = int(parse_bytes(self.memory_limit))
        except (ValueError, OverflowError) as error:
            raise ConfigError(
                f"memory limit {self.memory_limit!r} is no size: expected one like 4GB, or auto"
            ) from error
        if size < MIN_MEMORY:
            raise ConfigError(
                f"a memory limit of {self.memory_limit} is less than a process takes before it reads a pixel: give at "
                f"least {MIN_MEMORY / 1e6:.0f}MB; about 4GB is usual"
            )
        return size

    def _check_kind(self) -> None:
        ways = [way for way in (self.address, self.scheduler_file) if way is not None]
        if self.kind == "scheduler" and len(ways) != 1:
            count = "both" if ways else "none"
            raise ConfigError(f"the scheduler needs either its address or its scheduler file, got {count}")
        if self.kind != "scheduler" and ways:
            raise ConfigError(f"an address belongs to kind 'scheduler', got it with {self.kind!r}")
        if self.gpus and self.kind != "processes":
            raise ConfigError(
                f"gpus are for processes of this machine, got them with {self.kind!r}: a cluster's workers "
                "choose their own"
            )

    def _check_tls(self) -> None:
        tls = {"tls_ca_file": self.tls_ca_file, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        missing = [name for name, path in tls.items() if path is None]
        if len(missing) == len(tls):
            return
        if missing:
            raise ConfigError(f"TLS needs a CA file, a certificate and its key; missing: {', '.join(missing)}")
        if self.kind != "scheduler":
            raise ConfigError("TLS protects the way to a scheduler: it needs kind 'scheduler'")
        for name, path in tls.items():
            if path is not None and not path.is_file():
                raise ConfigError(f"{name}: there is no file {path}")
