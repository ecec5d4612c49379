"""What every training says of itself before it begins: what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from wsinuc.workflows.training.cost import TrainingCost


def echo_cost(cost: TrainingCost) -> None:
    """Print what a training takes: settings, parameters, operations, memory, and a time where one was measured."""
    if cost.text:
        echo(cost.text)
    echo(
        f"{_millions(cost.parameters)} to learn, {_operations(cost.flops)} in all, about "
        f"{cost.memory_bytes / 2**30:.2f} GiB of memory"
    )
    if cost.seconds is not None:
        from wsinuc_cli.texts.duration import duration

        echo(f"about {duration(cost.seconds)} on this machine ({cost.measured})")


def _millions(parameters: int) -> str:
    if parameters < 10_000:
        return f"{parameters:,} parameters"
    return f"{parameters / 1e6:.2f} M parameters"


def _operations(flops: float) -> str:
    """Operations with the prefix that leaves one to four digits."""
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12)):
        if flops >= 10 * size:
            return f"{flops / size:,.0f} {prefix}FLOP"
    return f"{flops / 1e12:.2f} TFLOP"
