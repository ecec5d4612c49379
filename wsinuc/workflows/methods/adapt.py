"""``wsinuc.adapt``: a model that exists and a few annotated windows to a model that suits them better, or to none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.grid import Box
from wsinuc.urls import PathLike
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.adapt.gather import Material, check_classes, gather_material
from wsinuc.workflows.adapt.networks import adaptable_outline
from wsinuc.workflows.adapt.run import Outcome
from wsinuc.workflows.adapt.run import adapt as run
from wsinuc.workflows.adapt.windows import field_of
from wsinuc.workflows.methods.inputs import (
    AnnotatedImages,
    Tell,
    Tissue,
    annotated_images,
    checkpoint_place,
    nobody,
    settings,
    sources_of,
)


def adapt(
    model: PathLike,
    windows: AnnotatedImages,
    out: PathLike,
    config: AdaptConfig | None = None,
    *,
    rest: Tissue = (),
    mpp: float | None = None,
    anyway: bool = False,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Tell | None = None,
) -> Outcome:
    """Tune a model on a few annotated windows, and write it where it beats itself on windows that were held out.

    Its networks are tuned a little on the windows, and on what they said of the tissue around them, so that they
    stay as they are elsewhere; their weights are then mixed with those that they had. Windows that are held out in
    turn say how much of each is best.

    Parameters
    ----------
    model
        A name of `wsinuc.shipped_models`, or the path of a checkpoint: a U-Net, pixel classifiers on a denoiser, or a
        joint model of these.
    windows
        A data set (`wsinuc.open_dataset`), its path, a part of it, or annotated images. Of a slide that was annotated
        in QuPath the tissue around its regions is learned from as well.
    out
        File of the new checkpoint (``.safetensors``), in a folder that exists.
    config
        None takes the defaults of `wsinuc.AdaptConfig`.
    rest
        More tissue on which the model should stay as it is: slides, images, folders of them, by path or open.
    mpp
        um per pixel of files in ``rest`` that do not say it.
    anyway
        Write the checkpoint also where it is not better, or where that could not be measured.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    provenance
        What the checkpoint records of the data.
    on_event
        Called with a line of text on what is done.

    Returns
    -------
    Outcome
        ``gain`` in AJI on held-out windows and its standard error, and whether there is a file (``written``).

    Raises
    ------
    CheckpointError, DeviceError
        There is no such model, or no such device.
    ConfigError
        The settings are of something else, or the model is of a kind that cannot be adapted.
    DataError, MppError
        No window shows a nucleus, the windows have other classes than the model, or a file cannot be read.
    OutputError
        The checkpoint cannot be written there.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> import wsinuc
    >>> drawn = "examples/data/CMU-1-Small-Region.nuclei.geojson"
    >>> windows = wsinuc.open_dataset("examples/data/CMU-1-Small-Region.svs", annotations=drawn)
    >>> config = replace(wsinuc.AdaptConfig().lasting(1), crop=64, labelled=1, taught=0, shares=(1.0,), folds=2)
    >>> mine = tempfile.mkdtemp() + "/mine.safetensors"
    >>> outcome = wsinuc.adapt("student", list(windows[2:]), mine, config, anyway=True, device="cpu")
    >>> outcome.windows, outcome.nuclei, outcome.written
    (('CMU-1-Small-Region_3_0_0', 'CMU-1-Small-Region_4_0_0'), 39, True)
    >>> wsinuc.load_segmenter(mine, device="cpu").mpp
    0.25
    """
    path = checkpoint_place(out)
    config = settings(config, AdaptConfig, "AdaptConfig")
    outline = adaptable_outline(model)
    images = annotated_images(windows)
    if isinstance(images, Dataset):
        check_classes([each.name for each in outline.classes], [each.name for each in images.classes], str(model))
    material = _material(images, sources_of(rest), outline.mpp, mpp, config.seed)
    return run(
        model,
        material.fields,
        path,
        config,
        rest=material.rest,
        anyway=anyway,
        device=device,
        provenance=provenance,
        on_event=on_event or nobody,
    )


def _material(
    images: Dataset | Sequence[LabelledImage], rest: Sequence[Any], mpp: float, file_mpp: float | None, seed: int
) -> Material:
    """Windows with what lies around them, and other tissue."""
    if isinstance(images, Dataset):
        given = file_mpp or images.mpp or images.otherwise
        return gather_material([images], rest, mpp=mpp, file_mpp=given, seed=seed)
    # Images in memory have nothing around them: each is all window.
    fields = tuple(field_of(image, [Box.of_shape(image.labels.shape)], mpp) for image in images)
    tissue = gather_material((), rest, mpp=mpp, file_mpp=file_mpp, seed=seed).rest
    return Material(fields, tissue)
