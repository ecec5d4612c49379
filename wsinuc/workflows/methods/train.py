"""``wsinuc.train``: annotated images and settings to a segmenter, by the method that the settings are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wsinuc.arguments import came
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.checkpoints.inner_denoiser import require_denoiser_header
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import check_place
from wsinuc.segmenters import denoiser_path
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.train.cross_validation import CrossValidation
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, train_ddpm
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.networks import train_network

TrainConfig = DdpmTrainConfig | NetworkTrainConfig
"""Settings of a method; which of the two says the method."""


def train(
    images: Dataset | Sequence[LabelledImage],
    out: PathLike,
    config: TrainConfig | None = None,
    *,
    classes: Sequence[NucleusClass] | None = None,
    denoiser: PathLike | None = None,
    validation: Sequence[LabelledImage] = (),
    weights: Sequence[float] | None = None,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> CrossValidation | None:
    """Train a segmenter on annotated images and write its checkpoint, which `wsinuc.load_segmenter` opens.

    Parameters
    ----------
    images
        A data set (`wsinuc.open_dataset`), a part of one (``dataset.where(...)``, ``dataset[:8]``), or annotated
        images.
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
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import wsinuc
    >>> from PIL import Image
    >>> from wsinuc.models.training.config import FitConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> labels = np.zeros((64, 64), np.uint16)
    >>> labels[10:20, 10:20] = 1
    >>> for name, pixels in (("images", np.full((64, 64, 3), 230, np.uint8)), ("labels", labels)):
    ...     (folder / name).mkdir()
    ...     Image.fromarray(pixels).save(folder / name / "field.png")
    >>> dataset = wsinuc.open_dataset(folder, mpp=0.5)
    >>> config = replace(wsinuc.NetworkTrainConfig.quick("unet"), crop=32, batch=1, base=4, fit=FitConfig(steps=1))
    >>> wsinuc.train(dataset, folder / "unet.safetensors", config, device="cpu")
    >>> wsinuc.load_segmenter(folder / "unet.safetensors", device="cpu").mpp
    0.5
    """
    path = to_path(out)
    # Before any image is read: a wrong folder should not show after hours of training.
    check_place(path)
    learned = _classes(images, classes)
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
            on_event=on_event,
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
        on_event=on_event,
        validation=validation,
    )
    return None


def _classes(
    images: Dataset | Sequence[LabelledImage], classes: Sequence[NucleusClass] | None
) -> tuple[NucleusClass, ...]:
    """What is learned: the classes that are given, else those of the data set, else one called Nucleus."""
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        raise DataError(f"expected annotated images, got {came(images)}: wsinuc.open_dataset opens a folder of them")
    if classes is not None:
        return tuple(classes)
    if isinstance(images, Dataset):
        return images.classes or (NUCLEUS,)
    return (NUCLEUS,)
