"""Segmenters: a model's weights file in, something with ``predict`` and ``separate`` out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc.errors import CheckpointError

if TYPE_CHECKING:
    from wsinuc.segmenters.base import Segmenter

WEIGHTS = Path(__file__).parent.parent / "weights"


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))


def load_segmenter(model: str = "default", *, device: str = "auto") -> Segmenter:
    """A segmenter by the name of a shipped model or the path of a checkpoint.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    CheckpointError
        There is no such model, or its file is no segmenter.
    DeviceError
        There is no such device here.
    """
    from wsinuc.models.checkpoint import load_checkpoint
    from wsinuc.models.devices import pick_device, pick_dtype
    from wsinuc.segmenters.ddpm import DdpmSegmenter

    chosen = pick_device(device)
    path = Path(model)
    if model in shipped_models():
        path = WEIGHTS / f"{model}.safetensors"
    elif not path.suffix and not path.exists():
        raise CheckpointError(
            f"no model {model!r}: shipped are {', '.join(shipped_models()) or 'none'}, or give a path"
        )
    checkpoint = load_checkpoint(path, "segmenter")
    return DdpmSegmenter.from_checkpoint(checkpoint, device=chosen, dtype=pick_dtype(chosen))
