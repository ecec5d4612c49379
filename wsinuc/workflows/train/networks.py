"""``wsinuc train`` with a network that segments in one pass: method D's fine-tuning, HoVer-Net, the plain U-Net.

One training for all three: the same crops, schedule, averaged weights and resume, so that what differs between their
results is the network, its start and its loss. Targets of the maps are made from the instances of each crop *after*
augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.metrics.choosing import mean_merit
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.devices import on_device, pick_dtype, prepare_device
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.models.networks.by_name import UNETS, build_network, check_shape
from wsinuc.models.networks.dense import DenseNetwork
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import Progress, fit, part_size, training_identity
from wsinuc.models.training.processes import ALONE
from wsinuc.models.training.state import DATA
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import check_place
from wsinuc.segmenters.network import NetworkConfig, NetworkSegmenter, network_checkpoint
from wsinuc.segmenters.tiling import MAPS
from wsinuc.workflows.data.training_set import NUCLEUS, check_annotation, count_nuclei, identity_of
from wsinuc.workflows.evaluate.ignored import judge
from wsinuc.workflows.evaluate.run import predict_labels
from wsinuc.workflows.train.keep_best import Best, fit_keeping_best
from wsinuc.workflows.train.network_config import NetworkTrainConfig, check_crop
from wsinuc.workflows.train.network_loss import LOSSES, make_targets
from wsinuc.workflows.train.threshold import fit_threshold
from wsinuc.workflows.training.run import origin_of


def train_network(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    out: Path,
    config: NetworkTrainConfig,
    *,
    denoiser: Path | None = None,
    device: str = "auto",
    weights: Sequence[float] | None = None,
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
    validation: Sequence[LabelledImage] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train a network on annotated images and write it as a checkpoint of kind ``segmenter``.

    The same call continues an interrupted training from the state beside ``out`` (``.state``).

    Parameters
    ----------
    images
        Annotated images, each with its own mpp.
    classes
        What a nucleus can be; empty for data without classes, which teach one class called Nucleus.
    denoiser
        Checkpoint of kind ``denoiser`` that ``finetune`` starts from; None starts from random
        weights of ``config.denoiser``.
    weights
        How often each image is drawn, relative to the others; None draws by area.
    provenance
        What to record of the data: names, licences, the command.
    validation
        Images to measure AJI on as the training goes; the weights that do best there are kept.
        Without any, the last ones are.
    should_stop
        Asked after each step; stops early, with the state saved and the weights so far written.

    Raises
    ------
    CheckpointError
        ``denoiser`` is no denoiser, or the state is another training's.
    DataError
        There is nothing to learn from, labels are no integers, or an image has a class that ``classes`` has not.
    ConfigError
        ``denoiser`` does not fit the method.
    OutputError
        ``out`` lies in no folder.
    """
    check_place(out)
    images = list(images)
    classes = classes or (NUCLEUS,)
    check_annotation(images, classes)
    start = starting_point(config, denoiser)
    where = prepare_device(device)
    described = describe_network(config, classes, start)
    if isinstance(described.network, (UNetConfig, AttentionUNetConfig)):
        check_crop(config.crop, described.network.stride)
    # Right before the network: its first weights depend on nothing that was drawn earlier.
    torch.manual_seed(config.seed)
    network = build_network(config.method, described.network)
    if start is not None and config.pretrained:
        _take_over(network, start)
    on_device(network, where).train()
    source = CropSource(
        images=images,
        mpp=described.watershed.mpp,
        size=config.crop,
        seed=config.seed,
        weights=weights,
        augmentation=config.augmentation,
    )
    training = _NetworkTraining(
        network=network,
        described=described,
        loss=_batch_loss(network, source, config, where),
        images=images,
        config=config,
        out=out,
        origin=_origin(config, images, start) | (provenance or {}),
        identity=_identity(source, classes, config, start, validation),
        device=where,
        on_event=on_event,
        should_stop=should_stop,
    )
    if validation:
        training.keep_best(validation)
    else:
        training.keep_last()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _NetworkTraining:
    """A network that is ready to be trained, and where it goes then."""

    network: DenseNetwork
    described: NetworkConfig
    """What the checkpoint's header will say, but for the threshold, which suits the weights."""
    loss: Callable[[int], Tensor]
    """Of a step."""
    images: Sequence[LabelledImage]
    config: NetworkTrainConfig
    out: Path
    origin: dict[str, Any]
    identity: dict[str, Any]
    """What a training that goes on must share with its beginning."""
    device: torch.device
    on_event: Callable[[str], None]
    should_stop: Callable[[], bool]

    @property
    def state(self) -> Path:
        """The file from which an interrupted training goes on."""
        return self.out.with_suffix(".state")

    def keep_last(self) -> None:
        """Train, and write the last weights."""
        weights = fit(
            self.network,
            self.loss,
            self.config.fit,
            state=self.state,
            settings=self.identity,
            on_progress=self._report,
            should_stop=self.should_stop,
        )
        save_checkpoint(network_checkpoint(self._finished(weights), weights, self.origin), self.out)

    def keep_best(self, validation: Sequence[LabelledImage]) -> None:
        """Train, and write the weights whose AJI on other images is the highest."""

        def keep(best: Best) -> None:
            name = self.config.method
            self.on_event(f"{name}: step {best.step}  validation AJI {best.score:.4f}, the best so far")
            # The score is kept in the file: an interrupted training goes on from it, see `_known_score`.
            measured = {"validation": {"aji": best.score, "step": best.step, "images": len(validation)}}
            described = self._finished(best.weights)
            save_checkpoint(network_checkpoint(described, best.weights, self.origin | measured), self.out)

        fit_keeping_best(
            self.network,
            self.loss,
            self.config.fit,
            state=self.state,
            every=self.config.validate_every,
            measure=lambda weights: mean_aji(self._finished(weights), weights, validation, self.device),
            on_best=keep,
            known=_known_score(self.out, self.state),
            settings=self.identity,
            on_progress=self._report,
            should_stop=self.should_stop,
        )

    def _report(self, progress: Progress) -> None:
        self.on_event(progress.line(self.config.method, self.config.fit.steps))

    def _finished(self, weights: dict[str, Tensor]) -> NetworkConfig:
        return with_threshold(self.described, weights, self.images, self.device)


def mean_aji(
    described: NetworkConfig, weights: dict[str, Tensor], images: Sequence[LabelledImage], device: torch.device
) -> float:
    """Mean AJI over annotated images of a network with these weights, by the path of ``segment``.

    Images without nuclei count as `wsinuc.metrics.choosing` says.
    """
    segmenter = _segmenter(described, weights, device)
    return mean_merit(judge(image, predict_labels(image, segmenter=segmenter)) for image in images)


def with_threshold(
    described: NetworkConfig, weights: dict[str, Tensor], images: Sequence[LabelledImage], device: torch.device
) -> NetworkConfig:
    """The same with the foreground threshold that suits these weights."""
    threshold = fit_threshold(_segmenter(described, weights, device), images)
    return replace(described, watershed=replace(described.watershed, foreground_threshold=threshold))


def _segmenter(described: NetworkConfig, weights: dict[str, Tensor], device: torch.device) -> NetworkSegmenter:
    network = build_network(described.method, described.network)
    network.load_state_dict(weights)
    return NetworkSegmenter(described, network, device=device, dtype=pick_dtype(device))


def _known_score(out: Path, state: Path) -> float:
    """What the interrupted part of this training reached on the validation images."""
    # Without a state the training begins anew, and an older file's score is none of its own.
    if not (state.exists() and out.exists()):
        return float("-inf")
    return float(load_checkpoint(out, "segmenter").provenance.get("validation", {}).get("aji", "-inf"))


def starting_point(config: NetworkTrainConfig, denoiser: Path | None) -> Checkpoint | None:
    """The checkpoint to start from, checked against the settings; raises CheckpointError or ConfigError."""
    if config.method != "finetune":
        if denoiser is not None:
            raise ConfigError(f"{config.method} starts from random weights: leave {denoiser} out, or use finetune")
        return None
    if denoiser is None:
        if config.denoiser is None:
            raise ConfigError("finetune needs a denoiser checkpoint, or the shape of a network to start from scratch")
        return None
    checkpoint = load_denoiser_checkpoint(denoiser)
    if config.mpp is not None and not np.isclose(config.mpp, checkpoint.config["mpp"]):
        raise ConfigError(
            f"{denoiser} was trained at {checkpoint.config['mpp']:g} um per pixel, not {config.mpp:g}: "
            "its features mean nothing at another resolution; leave mpp out"
        )
    return checkpoint


def describe_network(
    config: NetworkTrainConfig, classes: tuple[NucleusClass, ...], start: Checkpoint | None
) -> NetworkConfig:
    """What the checkpoint's header will say of the network.

    Raises
    ------
    ConfigError
        The network is too large or too small to be one.
    DataError
        The name of a class is one with which `segment` could not write its results.
    """
    check_class_names(each.name for each in classes)
    shape: dict[str, Any] = {"classes": len(classes) + 1, "maps": MAPS[config.way]}
    mpp = config.resolution
    if config.method == "finetune":
        if start is not None:
            shape["denoiser"] = start.config
            # Features of a denoiser mean nothing at another resolution.
            mpp = float(start.config["mpp"])
        elif config.denoiser is not None:
            shape["denoiser"] = {"unet": asdict(config.denoiser)}
    elif config.method in UNETS:
        shape |= {"base": config.base, "levels": config.levels}
    else:
        shape |= {"width": config.width}
    check_shape(config.method, shape)
    return NetworkConfig.describe(config.method, shape, mpp=mpp, separation=config.way, classes=classes)


def _take_over(network: DenseNetwork, start: Checkpoint) -> None:
    """Put the denoiser's weights, without its head, into the network."""
    # The head predicts noise; the segmenter's head begins at random.
    body = {f"denoiser.{name}": value.float() for name, value in start.tensors.items() if not name.startswith("head.")}
    missing, unexpected = network.load_state_dict(body, strict=False)
    strange = [*unexpected, *(name for name in missing if name.startswith("denoiser."))]
    if strange:
        raise CheckpointError(
            f"the denoiser's weights do not fit its own header: {strange[0]} is missing or not expected"
        )


def _batch_loss(
    network: DenseNetwork, source: CropSource, config: NetworkTrainConfig, device: torch.device
) -> Callable[[int], Tensor]:
    """The loss of part k of the training, which is step k where a step is one pass."""
    size = part_size(config.batch, config.fit, ALONE)

    def loss(part: int) -> Tensor:
        crops = source.batch(part, size)
        pixels = torch.from_numpy(np.stack([crop.image for crop in crops])).to(device)
        raw = network(to_network(pixels))
        wanted = make_targets(crops, config.way, network.lost).to(device)
        # Losses in fp32: sums over a batch lose digits in bf16.
        with torch.autocast(device.type, enabled=False):
            return LOSSES[config.method](raw.float(), wanted, config)

    return loss


def _identity(
    source: CropSource,
    classes: tuple[NucleusClass, ...],
    config: NetworkTrainConfig,
    start: Checkpoint | None,
    validation: Sequence[LabelledImage],
) -> dict[str, Any]:
    """What a training that goes on must share with its beginning."""
    return training_identity(config, apart=("validate_every",)) | {
        DATA: identity_of(source.images, source.weights),
        "classes": [each.name for each in classes],
        "init": start.sha256 if start else None,
        # The score of the best weights so far is that of these images.
        "validation": identity_of(validation) if validation else None,
    }


def _origin(config: NetworkTrainConfig, images: Sequence[LabelledImage], start: Checkpoint | None) -> dict[str, Any]:
    """Where the weights come from."""
    return origin_of(
        config,
        images=[sample.name for sample in images],
        nuclei=count_nuclei(images),
        denoiser={"sha256": start.sha256, **start.provenance} if start else None,
    )
