"""``wsinuc.train``: annotated images and settings to a segmenter, by the method that the settings are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsinuc.arguments import came
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.inner_denoiser import require_denoiser_header
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import denoiser_path
from wsinuc.urls import PathLike
from wsinuc.workflows.methods.inputs import (
    AnnotatedImages,
    Tell,
    annotated_images,
    checkpoint_place,
    classes_of,
    nobody,
)
from wsinuc.workflows.train.cross_validation import CrossValidation
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, train_ddpm
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import train_network

TrainConfig = DdpmTrainConfig | NetworkTrainConfig
"""Settings of a method; which of the two says the method."""


def train(
    images: AnnotatedImages,
    out: PathLike,
    config: TrainConfig | None = None,
    *,
    classes: Sequence[NucleusClass] | None = None,
    denoiser: PathLike | None = None,
    validation: Sequence[LabelledImage] = (),
    weights: Sequence[float] | None = None,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Tell | None = None,
) -> CrossValidation | None:
    """Train a segmenter on annotated images and write its checkpoint, which `wsinuc.load_segmenter` opens.

    Parameters
    ----------
    images
        A data set (`wsinuc.open_dataset`), its path, a part of one (``dataset.where(...)``, ``dataset[:8]``), or
        annotated images.
    out
        File of the checkpoint (``.safetensors``), in a folder that exists.
    config
        `wsinuc.DdpmTrainConfig` for pixel classifiers on the features of a denoiser, `wsinuc.NetworkTrainConfig` for
        networks; None takes the former, with the features that suit the denoiser.
    classes
        What a nucleus can be, in the order of the images' class numbers; None takes the data set's.
    denoiser
        Name or file of the denoiser, for the methods that have one; None is the shipped one for
        `wsinuc.DdpmTrainConfig`, and random weights for networks.
    validation
        Images that decide which weights of a network are kept.
    weights
        How often each image is drawn, relative to the others.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    provenance
        What the checkpoint records of the data.
    on_event
        Called with a line of text on what is done.

    Returns
    -------
    CrossValidation or None
        What a model of few images measured of itself on windows that it had not seen; None where it did not.

    Raises
    ------
    ConfigError
        The settings are of no training, or do not fit the denoiser.
    DataError
        There is nothing to learn from, or an image has classes that are not among ``classes``.
    CheckpointError, DeviceError
        The denoiser is none, or there is no such device.
    OutputError
        The checkpoint cannot be written there.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> import wsinuc
    >>> drawn = "examples/data/CMU-1-Small-Region.nuclei.geojson"
    >>> windows = wsinuc.open_dataset("examples/data/CMU-1-Small-Region.svs", annotations=drawn)
    >>> config = replace(wsinuc.NetworkTrainConfig.quick("unet").lasting(1), crop=32, batch=1, base=4)
    >>> unet = tempfile.mkdtemp() + "/unet.safetensors"
    >>> wsinuc.train(windows[3:], unet, config, device="cpu")
    >>> wsinuc.load_segmenter(unet, device="cpu").classes[1].name
    'Stroma'
    """
    path = checkpoint_place(out)
    images = annotated_images(images)
    learned = classes_of(images, classes)
    tell = on_event or nobody
    if config is None:
        config = DdpmTrainConfig().suited(require_denoiser_header(denoiser_path(denoiser)))
    if isinstance(config, DdpmTrainConfig):
        return train_ddpm(
            images,
            learned,
            denoiser_path(denoiser),
            path,
            config,
            device=device,
            weights=weights,
            provenance=provenance,
            on_event=tell,
        )
    if not isinstance(config, NetworkTrainConfig):
        raise ConfigError(f"expected a DdpmTrainConfig or a NetworkTrainConfig, got {came(config)}")
    start: Path | None = None
    if denoiser is not None:
        start = denoiser_path(denoiser)
    train_network(
        images,
        learned,
        path,
        config,
        denoiser=start,
        device=device,
        weights=weights,
        provenance=provenance,
        on_event=tell,
        validation=validation,
    )
    return None
