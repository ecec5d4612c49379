"""Presets of ``wsinuc pretrain``, overlaid with the options that were given: one way for all methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from wsinuc_cli.options.overlay import field_of, overlaid

if TYPE_CHECKING:
    from wsinuc.workflows.denoiser.config import PretrainConfig
    from wsinuc.workflows.generators.config import GeneratorConfig
    from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig
    from wsinuc.workflows.generators.text_config import TextTrainConfig

    AnyConfig = PretrainConfig | GeneratorConfig | CoSynTrainConfig | TextTrainConfig

METHODS = ("ddpm", "nudiff-structure", "nudiff-image", "cosyn", "text-encoder")
LEFT_OUT = ("points", "text", "augmentation")
"""As `wsinuc.models.checkpoints.cosyn.LEFT_OUT`, which help does without: it takes PyTorch."""
_DIFFUSION = METHODS[:4]
OWNERS = {
    "memory": ("ddpm",),
    "fraction": METHODS[1:],
    "learn_variance": METHODS[:3],
    "drop_rate": ("nudiff-image",),
    "without": ("cosyn",),
    "text_encoder": ("cosyn",),
    "tissue": ("cosyn", "text-encoder"),
    "init": _DIFFUSION,
    "accumulate": _DIFFUSION,
    "sample_every": _DIFFUSION,
}
"""Options that mean something to some methods only."""
FIELDS = {
    "model_mpp": "mpp",
    "batch": "batch",
    "patch": "patch",
    "lr": "fit.lr",
    "accumulate": "fit.accumulate",
    "drop_rate": "drop_rate",
    "without": "without",
    "tissue": "tissue",
    "held_out": "held_out",
    "validate_every": "validate_every",
    "sample_every": "sample_every",
    "seed": "seed",
}
"""Option -> the field that it sets, of the settings of every method that has it."""


def presets(method: str) -> Mapping[str, AnyConfig]:
    """The presets of a method by name."""
    if method == "ddpm":
        from wsinuc.workflows.denoiser.config import PRESETS

        return PRESETS
    if method == "cosyn":
        from wsinuc.workflows.generators.cosyn_config import PRESETS as JOINT_PRESETS

        return JOINT_PRESETS
    if method == "text-encoder":
        from wsinuc.workflows.generators.text_config import PRESETS as TEXT_PRESETS

        return TEXT_PRESETS
    from wsinuc.workflows.generators.config import IMAGE_PRESETS, STRUCTURE_PRESETS

    if method == "nudiff-image":
        return IMAGE_PRESETS
    return STRUCTURE_PRESETS


def pretrain_config(method: str, preset: str, given: Mapping[str, Any]) -> AnyConfig:
    """The method's preset with exactly the options that were given.

    Raises
    ------
    ConfigError
        The method has no such preset, a value is refused, or ``--steps`` and ``--images-seen`` were both given.
    """
    from wsinuc.errors import ConfigError

    known = presets(method)
    if preset not in known:
        raise ConfigError(f"--method {method} has no preset {preset!r}; it has {', '.join(known)}")
    start = known[preset]
    steps = _steps(given, start.batch)
    if steps is not None:
        start = start.lasting(steps)
    shape = "unet" if method == "ddpm" else "network"
    values = dict(given)
    if given.get("learn_variance"):
        # as many channels again: how far the variance lies between its two bounds
        values["out_channels"] = 2 * int(field_of(start, f"{shape}.in_channels"))
    # the attention U-Net calls its width ``dim``, as its authors do
    if hasattr(field_of(start, shape), "dim"):
        width = "dim"
    else:
        width = "base"
    paths = FIELDS | {"base": f"{shape}.{width}", "out_channels": f"{shape}.out_channels"}
    return overlaid(start, paths, values)


def _steps(given: Mapping[str, Any], batch: int) -> int | None:
    """The steps that were asked for, as such or as images to see; None leaves the preset's."""
    from wsinuc.errors import ConfigError

    steps = cast("int | None", given.get("steps"))
    images = cast("int | None", given.get("images_seen"))
    if steps is not None and images is not None:
        raise ConfigError("--steps and --images-seen say the same: give one of them")
    if images is None:
        return steps
    return max(1, images // int(given.get("batch", batch)))
