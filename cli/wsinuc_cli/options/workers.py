"""Options that say where the work is done: threads of this process, processes, GPUs, or a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.errors import WsinucError
from wsinuc_cli.options.common import DEFAULTS

if TYPE_CHECKING:
    from wsinuc.pipeline.executor_config import ExecutorConfig


OPTIONS = [
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Blocks at once in each process.  [default: 2; with --workers 1, with --gpus 4]",
    ),
    click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Work in N processes on this machine."),
    click.option(
        "--gpus", metavar="all|0,1", help="Work in one process per GPU of this machine: all of them, or these."
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Work on the Dask cluster at tcp://HOST:PORT or tls://..."),
    click.option(
        "--scheduler-file", type=click.Path(path_type=Path), help="The same, by the file that the scheduler writes."
    ),
    click.option(
        "--memory-limit",
        metavar="SIZE",
        help="Memory of each process, such as 4GB.  [default: its share of the machine]",
    ),
    click.option(
        "--block-timeout",
        type=float,
        metavar="S",
        help="Seconds after which a block counts as stuck and its process is restarted.  [default: 3600]",
    ),
    click.option(
        "--retries", type=int, metavar="N", help="How often a block that failed is tried again.  [default: 3]"
    ),
    click.option("--tls-ca-file", type=click.Path(path_type=Path), help="Certificate authority of the cluster."),
    click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate to show to the scheduler."),
    click.option("--tls-key", type=click.Path(path_type=Path), help="Key of that certificate."),
]
"""In the order in which help lists them."""


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say who does the work.

    The command gets ``executor``, an ExecutorConfig, and ``workers``, how many blocks this process works on at
    once. Options that contradict each other are a usage error that names them.
    """

    @functools.wraps(command)
    def with_executor(**settings: Any) -> Any:
        # None means not given: defaults are the config's own.
        given = {name: settings.pop(name) for name in GOES_WITH}
        executor = _executor_config(**{name: value for name, value in given.items() if value is not None})
        return command(executor=executor, workers=executor.workers, **settings)

    decorated: Callable[..., Any] = with_executor
    # Decorators apply from the last to the first.
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated


WHERE = ("workers", "gpus", "scheduler", "scheduler_file")
"""Options that say where the work is done, at most one of them; without any, threads of this process do it."""
ON_THIS_MACHINE = ("workers", "gpus")
ON_A_CLUSTER = ("scheduler", "scheduler_file")
GOES_WITH: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in WHERE},
    "threads": ("threads", *ON_THIS_MACHINE),
    "memory_limit": ON_THIS_MACHINE,
    **dict.fromkeys(("block_timeout", "retries"), WHERE),
    **dict.fromkeys(("tls_ca_file", "tls_cert", "tls_key"), ON_A_CLUSTER),
}
"""Where the work must be done for each of the options above to mean something."""


def _executor_config(**values: Any) -> ExecutorConfig:
    """The config for the options that were given; raises UsageError when they contradict each other."""
    where = [name for name in WHERE if name in values]
    if len(where) > 1:
        raise click.UsageError(f"{' and '.join(map(_flag, where))} name different workers: give one of them")
    kind = where[0] if where else "threads"
    for name in values:
        if kind not in GOES_WITH[name]:
            others = " or ".join(_flag(other) for other in GOES_WITH[name] if other in WHERE)
            but = ""
            if kind != "threads":
                but = f", not with {_flag(kind)}"
            raise click.UsageError(f"{_flag(name)} goes with {others}{but}")
    try:
        return _build_config(kind, values)
    except WsinucError as error:
        raise click.UsageError(str(error)) from error


def _build_config(kind: str, values: dict[str, Any]) -> ExecutorConfig:
    from wsinuc.pipeline.executor_config import ExecutorConfig

    renamed = {"block_timeout": "task_timeout_s", "scheduler": "address"}
    settings = {renamed.get(name, name): value for name, value in values.items()}
    if kind == "threads":
        return ExecutorConfig(workers=settings.get("threads", DEFAULTS["workers"]))
    if kind == "gpus":
        from wsinuc.workflows.segment.gpus import local_gpus

        settings["gpus"] = local_gpus(values["gpus"])
        settings["workers"] = len(settings["gpus"])
    return ExecutorConfig(kind="processes" if kind in ("workers", "gpus") else "scheduler", **settings)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
