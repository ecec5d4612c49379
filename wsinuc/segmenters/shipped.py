"""The models that come with the package, by the names under which users ask for them.

This table is the only place that knows which file a name stands for: ``default`` is no file of its
own but another name of whichever model was measured to be the best start. A release may leave files
out; their names then say what there is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import CheckpointError
from wsinuc.urls import PathLike

WEIGHTS = Path(__file__).parent.parent / "weights"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A name and what it stands for."""

    name: str
    """What users ask for."""
    file: str
    """Name of the file in `WEIGHTS`."""
    text: str
    """One line for users."""

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return WEIGHTS / self.file


MODELS = (
    ShippedModel(DEFAULT, "fast.safetensors", "what is taken when no model is named: fast"),
    ShippedModel(
        "accurate", "accurate.safetensors", "diffusion and, in three sizes, student together, with their disagreement"
    ),
    ShippedModel("breast", "breast.safetensors", "nuclei of fast in breast tissue: lymphocyte, epithelial, stromal"),
    ShippedModel(
        "diffusion", "diffusion.safetensors", "method A: diffusion features and an ensemble of pixel classifiers"
    ),
    ShippedModel(
        "fast",
        "fast.safetensors",
        "student and student-tnbc together, fitted to each slide's colours and size of nuclei",
    ),
    ShippedModel("student", "student.safetensors", "a small network of 31 organs, taught by several models, as it is"),
    ShippedModel(
        "student-tnbc", "student-tnbc.safetensors", "the same network as it was taught by breast tissue alone"
    ),
)
"""All names; see `shipped_models` for those whose file is here."""
DENOISER = "denoiser"
"""The denoiser on whose features pixel classifiers are trained where none is named."""
DENOISERS = (
    ShippedModel(DENOISER, "denoiser.safetensors", "a general denoiser, for train; it finds no nuclei by itself"),
)
"""Names of what is no segmenter but what one is made of; ``diffusion`` among `MODELS` holds a denoiser, too."""
FEATURES = WEIGHTS / "diffusion.safetensors"
"""The file whose denoiser stands for "the shipped denoiser" where images are compared by its features."""


def shipped_models() -> tuple[str, ...]:
    """Names of the models whose file is here, the default first.

    Returns
    -------
    tuple of str
        What `wsinuc.load_segmenter` and ``wsinuc.SegmentConfig(model=...)`` take.

    Examples
    --------
    >>> import wsinuc
    >>> wsinuc.shipped_models()[0]
    'default'
    """
    return tuple(model.name for model in MODELS if model.path.is_file())


def shipped_denoisers() -> tuple[str, ...]:
    """Names of the denoisers whose file is here."""
    return tuple(model.name for model in DENOISERS if model.path.is_file())


def shipped_path(name: str) -> Path | None:
    """The file of a shipped model or denoiser; None for what is no such name.

    Raises
    ------
    CheckpointError
        The name is known, but its file is not here.
    """
    for model in (*MODELS, *DENOISERS):
        if model.name == name:
            if model in DENOISERS and not model.path.is_file():
                raise CheckpointError(
                    f"this version of wsinuc ships no denoiser ({model.file} is not there): give --denoiser diffusion, "
                    "which takes the one inside that model, or one that wsinuc pretrain has made"
                )
            if not model.path.is_file():
                raise CheckpointError(f"this version of wsinuc ships no model {name!r}: there {_what_there_is()}")
            return model.path
    return None


def model_path(model: PathLike) -> Path:
    """The file of a shipped model, or of a path; raises CheckpointError for what is neither."""
    if not isinstance(model, (str, os.PathLike)):
        raise CheckpointError(
            f"expected the name of a model or the path of a checkpoint, got {model!r:.80}: there {_what_there_is()}"
        )
    model = os.fspath(model)
    shipped = shipped_path(model)
    if shipped is not None:
        return shipped
    path = Path(model)
    # A word without a suffix is meant as a name; what has one is a path, and opening it says what is wrong.
    if not path.suffix and not path.exists():
        raise CheckpointError(f"no model is called {model!r}: there {_what_there_is()}")
    return path


def denoiser_path(denoiser: PathLike | None = None) -> Path:
    """The file that holds a denoiser, by the name of a shipped one, of a shipped segmenter of method A, or by its path.

    Parameters
    ----------
    denoiser
        None is the shipped general denoiser.

    Raises
    ------
    CheckpointError
        There is no such name, or its file is not here.
    """
    return model_path(denoiser or DENOISER)


def shipped_name(sha256: str) -> str | None:
    """The name of the shipped model whose file has this SHA-256, ``default`` never; None for a model of another origin.

    Examples
    --------
    >>> shipped_name("0" * 64) is None
    True
    """
    lines = (WEIGHTS / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    files = {file for line in lines for digest, file in [line.split()] if digest == sha256}
    named = (model.name for model in (*MODELS, *DENOISERS) if model.file in files and model.name != DEFAULT)
    return next(named, None)


def member_path(name: str) -> Path:
    """The file that a joint model names: one in `WEIGHTS` by its stem, else a path; raises CheckpointError."""
    # By its file and not by its name: "default" may stand for another model in the next version.
    path = WEIGHTS / f"{name}.safetensors"
    if path.is_file():
        return path
    return model_path(name)


def check_member(model: str, expected: str, actual: str) -> None:
    """Raise CheckpointError unless a joint model's member is the very file that it was made of, by its sha256."""
    if actual != expected:
        raise CheckpointError(
            f"the joint model was made of a model {model[:200]!r} with the sha256 {expected[:12]}..., "
            f"and this one has {actual[:12]}...: install the version of wsinuc that it was made with, or join "
            "the models anew"
        )


def _what_there_is() -> str:
    names = shipped_models()
    verb = "is" if len(names) == 1 else "are"
    return f"{verb} {', '.join(names) or 'none'}; or give the path of a checkpoint"
