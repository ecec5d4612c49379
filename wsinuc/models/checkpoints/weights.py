"""Named tensors into the network that a header describes, once they are known to fit it.

A network is built without memory, every name and shape is compared with the tensors that are there, and only then
does it get copies of them. So a small file cannot make a large network, and no random weights are drawn in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.typed_json import one_line

Network = TypeVar("Network", bound=nn.Module)
Value = TypeVar("Value")


def part_of(named: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """What has a name that begins with the prefix, by the rest of its name.

    Examples
    --------
    >>> part_of({"base.stem": 1, "mean": 2}, "base.")
    {'stem': 1}
    """
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def as_fp32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as fp32; counters stay whole numbers."""
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def load_weights(build: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """The network that ``build`` makes, with these weights as its own floating-point type.

    Raises
    ------
    CheckpointError
        The network cannot be built, a name is missing or unknown, a shape or type differs.
    """
    try:
        with torch.device("meta"):  # shapes without memory
            network = build()
        wanted = network.state_dict()
        _check(wanted, tensors)
    except (ConfigError, TypeError, ValueError, KeyError, RuntimeError, OverflowError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = one_line(str(error)) or type(error).__name__
        raise CheckpointError(f"the header describes a network that this version cannot build ({reason})") from error
    own = {name: tensor.to(wanted[name].dtype, copy=True) for name, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    return network


def _check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless names, shapes and kinds of numbers are those of the network."""
    trouble = ""
    for name, tensor in wanted.items():
        if name not in given:
            trouble = f"{name} is missing"
        elif given[name].shape != tensor.shape:
            trouble = f"{name} is {tuple(given[name].shape)} and should be {tuple(tensor.shape)}"
        elif given[name].is_floating_point() != tensor.is_floating_point():
            trouble = f"{name} is of type {given[name].dtype}"
        if trouble:
            break
    unknown = [name for name in given if name not in wanted]
    if not trouble and unknown:
        trouble = f"{unknown[0]} belongs to nothing"
    if trouble:
        raise CheckpointError(
            f"the weights do not fit their own header: {one_line(trouble)}; the file is damaged, or was edited"
        )
