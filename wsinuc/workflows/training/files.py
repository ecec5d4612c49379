"""What a training leaves beside its checkpoint: curves of its log, pages of samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.plots import draw_curves
from wsinuc.models.training.loop import Inspection
from wsinuc.models.training.state import read_log


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """RGB as PNG, its folder made if need be; raises OutputError."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as stream:
        Image.fromarray(pixels).save(stream, format="PNG")


def sample_pages(draw: Callable[[int], NDArray[np.uint8]], out: Path, *, every: int, batch: int) -> Inspection:
    """Pages of samples in the folder ``.samples`` beside ``out``, named by the images seen.

    Parameters
    ----------
    draw
        Given the number of steps done, returns a page as RGB.
    every
        Images seen between two pages.
    batch
        Images of a step.
    """

    def write(step: int) -> None:
        write_png(draw(step), out.with_suffix(".samples") / f"{step * batch:010d}.png")

    return Inspection(max(1, every // batch), write)


def draw_training(log: Path, path: Path, *, loss: str = "loss of the predicted noise") -> None:
    """Curves of training and held-out loss over the images seen; nothing where the log is empty."""
    lines = read_log(log)
    if not lines:
        return
    curves: dict[str, tuple[Any, Any]] = {
        "training": ([line["images"] for line in lines], [line["loss"] for line in lines])
    }
    measured = [line for line in lines if line.get("validation") is not None]
    if measured:
        curves["held out"] = ([line["images"] for line in measured], [line["validation"] for line in measured])
    draw_curves(curves, path, x="images seen", y="loss", title=f"{path.stem}: {loss}")
