"""Public checkpoints of guided-diffusion (Dhariwal & Nichol 2021) as weights of our `UNet`.

Their modules are numbered in the order in which they run (``input_blocks.N.M``, ``middle_block.M``,
``output_blocks.N.M``), and so are ours: each name is translated piece by piece, and nothing but
attention changes its weights. Theirs stores queries, keys and values head by head, [heads, 3,
channels]; ours all queries first, [3, heads, channels], as their own "new attention order" does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from wsinuc.errors import CheckpointError
from wsinuc.models.networks.unet import UNet, UNetConfig

_PARTS = {
    "in_layers.0": "norm_in",
    "in_layers.2": "conv_in",
    "emb_layers.1": "time",
    "out_layers.0": "norm_out",
    "out_layers.3": "conv_out",
    "skip_connection": "skip",
    "norm": "norm",
    "qkv": "qkv",
    "proj_out": "proj",
    "op": "conv",
    "conv": "conv",
}
"""Name inside one published block -> ours."""
_ENDS = {
    "time_embed.0": "time.0",
    "time_embed.2": "time.2",
    "input_blocks.0.0": "stem",
    "out.0": "head.0",
    "out.2": "head.2",
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of a .pt file from which nothing but tensors is taken.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}: check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged or no weights file ({str(error).splitlines()[0]})") from error
    except Exception as error:  # the unpickler's own error, whose class would have to be imported from where it lives
        raise CheckpointError(
            f"{path} holds more than tensors, which could run code, and is not opened: "
            "save its state dict alone, with safetensors.torch.save_file"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is no state dict: expected names and tensors and nothing else")
    return dict(content)


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError for weights that hold NaN or infinity."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: the weights {name[:200]!r} hold NaN or infinity: it is damaged")


def from_guided(published: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """A published state dict as one for ``UNet(config)``, fp32.

    Parameters
    ----------
    config
        Must be the published model's: the shapes are compared. Like all public ones, it was trained without
        ``use_new_attention_order``.

    Raises
    ------
    CheckpointError
        A name is unknown or missing, or a shape differs: the configuration is not the model's.
    """
    with torch.device("meta"):  # shapes alone are needed
        unet = UNet(config)
    converted = {}
    for name, value in published.items():
        module, _, kind = name.rpartition(".")
        ours = f"{_translate(module)}.{kind}"
        if module.endswith((".qkv", ".proj_out")) and value.ndim == 3:
            # Their 1-d convolution over positions is our 1x1 convolution.
            value = value[..., None]
        if module.endswith(".qkv"):
            stage = ours.removesuffix(f".qkv.{kind}")
            value = _queries_first(value, _heads(unet, stage))
        converted[ours] = value.float()
    _check(converted, unet.state_dict())
    return converted


def _translate(module: str) -> str:
    """Our name of a published module; a name that cannot be ours stays as it is and is reported as unknown."""
    if module in _ENDS:
        return _ENDS[module]
    match = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)|middle_block\.(\d+)\.(.+)", module)
    if match is None:
        return module
    part = match[4] or match[6]
    if part not in _PARTS:
        return module
    if match[5]:
        return f"middle.{match[5]}.{_PARTS[part]}"
    if match[1] == "input_blocks":  # their block 0 is our stem
        return f"encoder.{int(match[2]) - 1}.{match[3]}.{_PARTS[part]}"
    return f"decoder.{int(match[2])}.{match[3]}.{_PARTS[part]}"


def _heads(unet: UNet, name: str) -> int:
    """Attention heads of our module ``name``; 1 when it is no attention (then the names are reported)."""
    try:
        return int(getattr(unet.get_submodule(name), "heads", 1))
    except AttributeError:
        return 1


def _queries_first(value: Tensor, heads: int) -> Tensor:
    """Rows ordered [heads, 3, channels] to [3, heads, channels]."""
    if len(value) % (3 * heads):
        return value  # the shapes are reported
    return value.reshape(heads, 3, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)


def _check(converted: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError, with the likely cause, unless names and shapes are the same."""
    if any(name.startswith("label_emb") for name in converted):
        raise CheckpointError("the published model is conditioned on classes (label_emb): take an unconditional one")
    unknown = sorted(converted.keys() - wanted.keys())
    missing = sorted(wanted.keys() - converted.keys())
    if unknown or missing:
        raise CheckpointError(
            f"the published weights are not of this network: {len(unknown)} names too many ({_some(unknown)}), "
            f"{len(missing)} missing ({_some(missing)}): check the levels, the blocks per level, where "
            "attention stands and whether blocks resample (the 256 px models do, the library's defaults do not)"
        )
    for name, value in wanted.items():
        if converted[name].shape != value.shape:
            if name.startswith("head.2"):
                hint = "is the variance learned there?"
            else:
                hint = "check its base width"
            raise CheckpointError(
                f"{name} is {tuple(converted[name].shape)} in the published weights but {tuple(value.shape)} in "
                f"this network: {hint}"
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") or "none"
