"""``wsinuc.distill``: one or several large models and unlabelled tissue to a small network that answers as they do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.data.sources import Choice
from wsinuc.workflows.distill.agreement import Agreement
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.patches import scales_of
from wsinuc.workflows.distill.run import distill as run
from wsinuc.workflows.distill.sources import gather_tissue, labels_for
from wsinuc.workflows.distill.teacher import check_teachers, load_teacher
from wsinuc.workflows.methods.inputs import (
    AnnotatedImages,
    Tell,
    Tissue,
    annotated_images,
    checkpoint_place,
    names_of,
    nobody,
    settings,
    sources_of,
)

MEMORY = 4 * 2**30
"""Bytes for pixels of the tissue; what does not fit is read again."""


def distill(
    teacher: PathLike | Sequence[PathLike],
    tissue: Tissue,
    out: PathLike,
    config: DistillConfig | None = None,
    *,
    mpp: float | None = None,
    labelled: AnnotatedImages = (),
    start: PathLike | None = None,
    cache: PathLike | None = None,
    even: bool = False,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Tell | None = None,
) -> Agreement:
    """Teach a small network on unlabelled tissue to do in one pass what a large model does, and write it.

    The teacher scores patches of the tissue once, and they are kept; interrupted, the same call goes on.

    Parameters
    ----------
    teacher
        A name of `wsinuc.shipped_models` or the path of a checkpoint; of several the scores are averaged.
    tissue
        Slides, images, folders of them and data sets, whose annotation is ignored, by path or open.
    out
        File of the student's checkpoint (``.safetensors``), in a folder that exists.
    config
        None takes the defaults of `wsinuc.DistillConfig`.
    mpp
        um per pixel of files that do not say it.
    labelled
        Annotated images of the teacher's classes to learn from besides.
    start
        An earlier student of the same shape to go on from.
    cache
        Folder of the teacher's patches in place of the one beside ``out``; students of one teacher may share it.
    even
        Draw from everything in ``tissue`` equally often, and not by area.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    provenance
        What the checkpoint records of the data; None records the names of what is in ``tissue``.
    on_event
        Called with a line of text on what is done.

    Returns
    -------
    Agreement
        How like its teacher the student is on patches that were held out: ``dice``, ``difference``, ``loss``.

    Raises
    ------
    CheckpointError, DeviceError
        There is no such teacher or student, the state is of another training, or there is no such device.
    ConfigError
        The settings are of something else, or the teachers differ in classes or separation.
    DataError, MppError
        There is nothing to learn from, its resolution is not known or too coarse, or the annotation has other classes.
    OutputError
        The checkpoint cannot be written there, or something else is there.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> config = wsinuc.DistillConfig(
    ...     mpp=0.5, base=4, levels=2, patches=4, patch=32, crop=32, batch=2, held_out=0.5
    ... ).lasting(1)
    >>> small = tempfile.mkdtemp() + "/small.safetensors"
    >>> agreement = wsinuc.distill("student", "examples/data/field.png", small, config, mpp=0.5, device="cpu")
    >>> 0 <= agreement.dice <= 1
    True
    >>> wsinuc.load_segmenter(small, device="cpu").classes[0].name
    'Nucleus'
    """
    path = checkpoint_place(out)
    config = settings(config, DistillConfig, "DistillConfig")
    sources = sources_of(tissue)
    teachers = [load_teacher(model, device=device) for model in _models(teacher)]
    check_teachers(teachers)
    everything = Choice({}, {})
    gathered = gather_tissue(
        sources, scales_of(teachers, config), file_mpp=mpp, choice=everything, memory=MEMORY, even=even
    )
    return run(
        teachers,
        gathered.images,
        path,
        config,
        device=device,
        weights=gathered.weights,
        labelled=_of_classes(annotated_images(labelled), teachers[0].segmenter.classes),
        cache=None if cache is None else to_path(cache),
        start=None if start is None else to_path(start),
        provenance={"sources": names_of(sources)} if provenance is None else provenance,
        on_event=on_event or nobody,
    )


def _models(teacher: PathLike | Sequence[PathLike]) -> list[PathLike]:
    """The teachers, at least one; raises ConfigError."""
    if isinstance(teacher, (str, os.PathLike)) or not isinstance(teacher, Sequence):
        return [teacher]
    if not teacher:
        raise ConfigError("expected a teacher, got an empty list: name a model or a checkpoint")
    return list(teacher)


def _of_classes(images: Dataset | Sequence[LabelledImage], taught: tuple[NucleusClass, ...]) -> list[LabelledImage]:
    """Annotated images for a teacher of these classes; images in memory name none, and are taken at their word."""
    if isinstance(images, Dataset):
        return labels_for(taught, images, images.classes, images.path.name)
    return labels_for(taught, images, taught, "the annotation")
