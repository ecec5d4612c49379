"""The commands that go on where a training ends, ready to be pasted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
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
        words += _given("--model-mpp", options["model_mpp"]) + _chosen(drawn, options) + ["-o", image]
    return quoted("wsinuc", *words)


def after_text(output: Path, sources: Sequence[str], options: Mapping[str, Any]) -> str:
    """What trains a joint generator whose prompts the encoder in ``output`` reads, on the images that it has seen.

    Parameters
    ----------
    options
        Those of ``wsinuc pretrain``.
    """
    joint = output.with_name(f"{output.stem}-joint{output.suffix}")
    words = ["--method", "cosyn", "--text-encoder", output, *_given("--tissue", options["tissue"])]
    return quoted("wsinuc", "pretrain", *sources, *words, *_chosen(None, options), "-o", joint)


def after_denoiser(output: Path, sources: Sequence[str], preset: str, options: Mapping[str, Any]) -> str:
    """What makes a segmenter of the denoiser in ``output``, from the first of its sources that is annotated.

    Where none is, the command says ``DATA`` for it. Method D's network is fine-tuned, because pixel
    classifiers cannot read it; the published one of method A gets the published features.

    Parameters
    ----------
    options
        Those of ``wsinuc pretrain``.
    """
    data = next((source for source in sources if _is_annotated(source, options["mpp"])), None)
    method = {"genselfdiff": ["--method", "finetune"], "paper": ["--preset", "paper"]}.get(preset, [])
    chosen = [] if data is None else _chosen(None, options)
    segmenter = output.with_name(f"{output.stem}-segmenter{output.suffix}")
    return quoted("wsinuc", "train", data or "DATA", *chosen, *method, "--denoiser", output, "-o", segmenter)


def after_sweep(data: str, folder: Path, options: Mapping[str, Any]) -> str:
    """What trains pixel classifiers on the features that did best, of the denoiser that ``best.json`` names.

    Parameters
    ----------
    options
        Those of ``wsinuc sweep``; of a split the model learns from the part that the sweep has learned from.
    """
    best = folder / "best.json"
    denoiser = json.loads(best.read_text(encoding="utf-8"))["denoiser"]
    segmenter = folder / "segmenter.safetensors"
    words = ["--denoiser", _by_name(denoiser), "--features", best, "-o", segmenter]
    chosen = _chosen(None, {**options, "wanted": (), "unwanted": ()})
    return quoted("wsinuc", "train", data, *chosen, *words)


def after_distilling(sources: Sequence[str], labels: Sequence[str], mpp: float | None, student: Path) -> str:
    """What measures a student on the first annotated data set it knows of, or else shows what it does to a slide."""
    data = next((source for source in (*labels, *sources) if _is_annotated(source, mpp)), None)
    if data is not None:
        return evaluate_command(data, mpp, student)
    # A single file can be segmented; a folder of images cannot.
    image = next((source for source in sources if Path(source).is_file()), sources[0])
    return quoted("wsinuc", "segment", image, *_given("--mpp", mpp), "--model", student)


def after_few_windows(data: str, mpp: float | None, model: Path) -> str:
    """What a model is for that has measured itself: a slide, the one of the windows where DATA is a slide."""
    slide = Path(data.partition("=")[0])
    # A folder or a table names no single slide.
    if not slide.is_file() or slide.suffix.lower() in (".csv", ".tsv"):
        return quoted("wsinuc", "segment", "SLIDE", "--model", model)
    return quoted("wsinuc", "segment", slide, *_given("--mpp", mpp), "--model", model)


def _by_name(denoiser: str) -> str:
    """The name of a shipped file, under which it is found on every computer; else the path as it is."""
    from wsinuc.segmenters.shipped import DENOISERS, MODELS

    names = {str(model.path): model.name for model in (*MODELS, *DENOISERS)}
    return names.get(denoiser, denoiser)


def _is_annotated(source: str, mpp: float | None) -> bool:
    """Whether a source is a data set with outlines, which training and evaluation read."""
    from wsinuc.datasets import open_dataset
    from wsinuc.errors import WsinucError

    try:
        return open_dataset(source, otherwise=mpp).layout.kind == "instances"
    except WsinucError:
        return False


def _chosen(drawn: Path | None, options: Mapping[str, Any]) -> list[Any]:
    """The options that name the images of the training, as ``pretrain`` and ``synthesize`` share them."""
    # "train" is the default of --part.
    if drawn or options["part"] == "train":
        part = []
    else:
        part = ["--part", options["part"]]
    conditions = [("--where", text) for text in options["wanted"]] + [
        ("--where-not", text) for text in options["unwanted"]
    ]
    return [
        *_given("--mpp", options["mpp"]),
        *_given("--regions", options.get("regions")),
        *_given("--split", drawn or options["split"]),
        *part,
        *(word for condition in conditions for word in condition),
    ]


def _given(flag: str, value: Any) -> list[Any]:
    if value is None:
        return []
    return [flag, value]


def quoted(*words: Any) -> str:
    """A command that can be pasted into a shell."""
    return shlex.join(map(str, words))


def measuring_command(data: str, options: Mapping[str, Any], model: Path) -> str:
    """What measures a trained model on images that it has not seen.

    They are another part of the split, or what the one condition of the training leaves out; else the command says
    ``OTHER_DATA`` for them.

    Parameters
    ----------
    options
        Those of the training.
    """
    unseen = _other_part(options) or _other_images(options)
    if not unseen:
        return quoted("wsinuc", "evaluate", "OTHER_DATA", "--model", model)
    which = [*_given("--mpp", options["mpp"]), *_given("--regions", options.get("regions"))]
    return quoted("wsinuc", "evaluate", data, *which, *unseen, "--model", model)


def _other_part(options: Mapping[str, Any]) -> list[Any]:
    """The options that name a part of the split from which nothing was learned, ``test`` if there is one."""
    from wsinuc.datasets.sampling.split import Split

    split = options.get("split")
    if split is None:
        return []
    used = (options["part"], options.get("validation"))
    others = [name for name in Split.load(split).parts if name not in used]
    if not others:
        return []
    return ["--split", split, "--part", "test" if "test" in others else others[0]]


def _other_images(options: Mapping[str, Any]) -> list[Any]:
    """The condition of a training turned round; of several conditions nobody knows which one keeps images back."""
    wanted = options.get("wanted", ())
    unwanted = options.get("unwanted", ())
    if options.get("split") is not None or len(wanted) + len(unwanted) != 1:
        return []
    if wanted:
        return ["--where-not", wanted[0]]
    return ["--where", unwanted[0]]


def evaluate_command(data: str, mpp: float | None, model: Path) -> str:
    """What measures a model on a data set."""
    return quoted("wsinuc", "evaluate", data, *_given("--mpp", mpp), "--model", model)
