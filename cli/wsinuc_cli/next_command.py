"""The commands that go on where a training ends, ready to be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

IMAGES = 16
"""To look at; the same command with a larger -n makes more."""


def next_command(
    method: str, output: Path, sources: tuple[str, ...], preset: str, drawn: Path | None, options: dict[str, Any]
) -> str:
    """What uses the generator in ``output``.

    A structure model needs an image model of the same resolution, which is trained on the same
    images. An image model needs structures: those of the first data set are there. A joint
    generator draws layouts itself.

    Parameters
    ----------
    drawn
        Split file with the patches that ``--fraction`` chose.
    options
        Those of ``wsinuc pretrain``.
    """
    made = ["-n", IMAGES, "-o", output.with_name(f"{output.stem}-synthetic")]
    if method == "cosyn":
        words = ["synthesize", "--method", "cosyn", "--model", output, *made]
    elif method == "nudiff-image":
        chosen = _chosen(drawn, options)
        words = [
            "synthesize",
            "--method",
            "nudiff",
            "--image-model",
            output,
            "--structures-from",
            sources[0],
            *chosen,
            *made,
        ]
    else:
        image = output.with_name(f"{output.stem}-image{output.suffix}")
        words = ["pretrain", *sources, "--method", "nudiff-image", "--preset", preset]
        words += _given("--model-mpp", options["mpp"]) + _chosen(drawn, options) + ["-o", image]
    return quoted("wsinuc", *words)


def _chosen(drawn: Path | None, options: dict[str, Any]) -> list[Any]:
    """The options that name the images of the training, as ``pretrain`` and ``synthesize`` share them."""
    part = [] if drawn or options["part"] == "train" else ["--part", options["part"]]
    conditions = [("--where", text) for text in options["wanted"]] + [
        ("--where-not", text) for text in options["unwanted"]
    ]
    return [
        *_given("--mpp", options["file_mpp"]),
        *_given("--split", drawn or options["split"]),
        *part,
        *(word for condition in conditions for word in condition),
    ]


def _given(flag: str, value: Any) -> list[Any]:
    return [] if value is None else [flag, value]


def quoted(*words: Any) -> str:
    """A command that can be pasted into a shell."""
    return shlex.join(map(str, words))


def evaluate_command(data: str, mpp: float | None, model: Path) -> str:
    """What measures a trained model on the data set that it was trained on, or on a part of it."""
    return quoted("wsinuc", "evaluate", data, *_given("--mpp", mpp), "--model", model)
