"""Segmenters: a model's weights file in, something with ``predict`` and ``separate`` out.

``predict`` turns pixels into scores on the accelerator, ``separate`` turns scores into instances on the CPU.
``base`` says what the pipeline needs of a segmenter; read it first. ``tiled`` has what all kinds that run a
network share, ``ddpm``, ``network`` and ``joint`` are those kinds, ``typed`` adds classes of whole nuclei to any
of them, and ``shipped`` knows the models that come with the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.segmenters.shipped import FEATURES, WEIGHTS, denoiser_path, member_path, model_path, shipped_models
from wsinuc.urls import PathLike

if TYPE_CHECKING:
    import torch

    from wsinuc.models.checkpoints.checkpoint import Checkpoint
    from wsinuc.segmenters.base import Segmenter

__all__ = [
    "FEATURES",
    "METHODS",
    "WEIGHTS",
    "denoiser_path",
    "load_segmenter",
    "member_path",
    "model_path",
    "shipped_models",
]

METHODS = {
    "ddpm": "wsinuc.segmenters.ddpm:DdpmSegmenter",
    "finetune": "wsinuc.segmenters.network:NetworkSegmenter",
    "joint": "wsinuc.segmenters.joint:JointSegmenter",
    "hovernet": "wsinuc.segmenters.network:NetworkSegmenter",
    "measured": "wsinuc.segmenters.measured:MeasuredSegmenter",
    "unet": "wsinuc.segmenters.network:NetworkSegmenter",
    "attention-unet": "wsinuc.segmenters.network:NetworkSegmenter",
    "typed": "wsinuc.segmenters.typed:TypedSegmenter",
}
"""Method that a checkpoint names -> "module:class" that runs it; one without a name is ``ddpm``."""
OF_WHOLE_NUCLEI = ("typed", "measured")
"""Methods that give classes to the nuclei that another model finds."""


def load_segmenter(
    model: PathLike = "default",
    *,
    device: str = "auto",
    threshold: float | None = None,
    min_area_um2: float | None = None,
) -> Segmenter:
    """A segmenter by the name of a shipped model or the path of a checkpoint.

    Parameters
    ----------
    model
        A name of `wsinuc.shipped_models`, or the path of a checkpoint of kind ``segmenter``.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    threshold
        Foreground probability from which a pixel belongs to a nucleus, above 0 and at most 1; None takes the model's
        own, which its probabilities are calibrated for.
    min_area_um2
        Least area of a nucleus in um2; None takes the model's own.

    Returns
    -------
    Segmenter
        For `wsinuc.segment_image`, `wsinuc.segment_slide` and `wsinuc.evaluate`. Threads may share it, and it pickles.

    Raises
    ------
    CheckpointError
        There is no such model, or its file is no segmenter.
    DeviceError
        There is no such device here.
    ConfigError
        ``threshold`` or ``min_area_um2`` is out of its range.

    Examples
    --------
    >>> import wsinuc
    >>> segmenter = wsinuc.load_segmenter("fast", device="cpu")
    >>> segmenter.mpp, [each.name for each in segmenter.classes]
    (0.25, ['Nucleus'])
    """
    from wsinuc.config import check_min_area, check_threshold
    from wsinuc.models.checkpoints.checkpoint import load_checkpoint
    from wsinuc.models.devices import pick_dtype, prepare_device
    from wsinuc.segmenters.cutoffs import with_cutoffs

    # Before weights are loaded, which takes seconds.
    check_threshold(threshold)
    check_min_area(min_area_um2)

    chosen = prepare_device(device)
    checkpoint = load_checkpoint(model_path(model), "segmenter")
    segmenter = segmenter_from(checkpoint, device=chosen, dtype=pick_dtype(chosen))
    return with_cutoffs(segmenter, threshold=threshold, min_area_um2=min_area_um2)


def segmenter_from(checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """The segmenter that a checkpoint of kind ``segmenter`` holds; raises CheckpointError for a method unknown here."""
    method = check_method(checkpoint.config)
    from wsinuc.typed_json import one_line

    module, _, name = METHODS[method].partition(":")
    kind: Any = getattr(import_module(module), name)
    try:
        segmenter: Segmenter = kind.from_checkpoint(checkpoint, device=device, dtype=dtype)
        return segmenter
    except ConfigError as error:
        raise CheckpointError(f"the model's header contradicts itself: {one_line(str(error))}") from error


def check_outlines_itself(checkpoint: Checkpoint, name: PathLike) -> None:
    """Raise CheckpointError for a model, called ``name``, that gives classes to another model's nuclei."""
    if checkpoint.config.get("method") not in OF_WHOLE_NUCLEI:
        return
    base = checkpoint.provenance.get("base")
    below = base.get("model") if isinstance(base, dict) else None
    raise CheckpointError(
        f"{name} itself gives classes to whole nuclei; give the model below it, "
        f"{str(below)[:200] if below else 'which is not recorded'}"
    )


def check_method(config: dict[str, Any]) -> str:
    """The method that a segmenter's header names; raises CheckpointError for one that is unknown here."""
    method = config.get("method", "ddpm")
    if not isinstance(method, str) or method not in METHODS:
        raise CheckpointError(
            f"the model was trained by the method {str(method)[:40]!r}, this version of wsinuc knows "
            f"{', '.join(METHODS)}: upgrade wsinuc"
        )
    return method
