"""``wsinuc distill``: a small network that does in one pass what a large segmenter does.

The teacher scores patches of unlabelled tissue once, as they are. The student, a plain U-Net, sees
crops of the same patches in other stains, focus and compression and learns the teacher's
probabilities and maps (Hinton et al. 2015): what a soft score says of a doubtful pixel is more than
a label would. It sees each place twice, a little apart, and should say the same. Several teachers
may be averaged, annotated images mixed in.

What comes out is a segmenter like any other, with the first teacher's classes, way of separation and post-processing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.datasets.sampling.patches import Prefetcher, source_identity
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.errors import OutputError
from wsinuc.models.checkpoints.checkpoint import save_checkpoint
from wsinuc.models.devices import on_device, prepare_device
from wsinuc.models.networks.by_name import build_network
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import Inspection, Progress, fit, part_size, weights_in_place
from wsinuc.models.training.processes import ALONE
from wsinuc.models.training.state import append_log, trim_log
from wsinuc.own_files import check_place
from wsinuc.segmenters.network import NetworkConfig, network_checkpoint
from wsinuc.workflows.data.training_set import check_annotation
from wsinuc.workflows.distill.agreement import Agreement, measure_agreement
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.patches import TeacherPatches, make_patches, scales_of
from wsinuc.workflows.distill.student import begin_with, describe_student
from wsinuc.workflows.distill.teacher import Scales, Teacher
from wsinuc.workflows.train.network_loss import make_targets, unet_loss
from wsinuc.workflows.train.soft_crops import SoftCrop, SoftCropSource, inconsistency, soft_loss
from wsinuc.workflows.training.run import origin_of

__all__ = ["Agreement", "DistillConfig", "distill"]

_THREADS = 4  # that cut crops while a GPU computes
_LABEL_SEED = 104_729  # added to the seed, so that annotated crops are drawn apart from the others


def distill(
    teachers: Sequence[Teacher],
    images: Sequence[Pixels],
    out: Path,
    config: DistillConfig,
    *,
    device: str = "auto",
    weights: Sequence[float] | None = None,
    labelled: Sequence[LabelledImage] = (),
    cache: Path | None = None,
    start: Path | None = None,
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Agreement:
    """Train a student of ``teachers`` on unlabelled ``images`` and write it as a checkpoint of kind ``segmenter``.

    Beside ``out`` lie the teacher's patches (``.patches``), the state (``.state``) from which the
    same call goes on when it was interrupted, the log (``.jsonl``) and the agreement over the steps
    (``.agreement.jsonl``).

    Parameters
    ----------
    teachers
        One or more, of the same classes and separation; their scores are averaged.
    images
        RGB sources at the finest of the teachers' and the student's resolution, see
        `wsinuc.workflows.distill.teacher.Scales`.
    weights
        How often each image is drawn; None draws by area.
    labelled
        Annotated images of the teacher's classes to learn from besides.
    cache
        Folder of the teacher's patches instead of the one beside ``out``; students of one teacher may share it.
    start
        An earlier student to go on from, of the same width, levels, classes and separation, folded
        alike or not at all; None begins anew.
    should_stop
        Asked after each step; stops early, with the state saved and the weights so far written.

    Returns
    -------
    The agreement of what was written.

    Raises
    ------
    CheckpointError
        State or patches are of another distillation.
    ConfigError
        The teachers differ in classes or separation.
    DataError
        There is nothing to learn from, or the annotation has other classes.
    OutputError
        ``out`` lies in no folder, or is there already from something else.
    """
    state = out.with_suffix(".state")
    _check_output(out, state)
    scales = scales_of(teachers, config)
    # From here on the student's resolution is known, and part of what identifies the training.
    config = replace(config, mpp=scales.student)
    if labelled:
        check_annotation(labelled, teachers[0].segmenter.classes)
    patches = make_patches(
        teachers, images, cache or out.with_suffix(".patches"), config, weights=weights, on_event=on_event
    )
    described = describe_student(teachers[0], config)
    where = prepare_device(device)
    # Right before the network: its first weights depend on nothing that was drawn earlier.
    torch.manual_seed(config.seed)
    network = build_network("unet", described.network)
    begun_from = begin_with(network, start, described) if start else None
    on_device(network, where).train()
    source = _soft_source(patches, described, scales, config)
    learned_from = {"labels": [image.name for image in labelled], "start": begun_from}
    identity = config.identity() | learned_from | _identity(teachers, images, weights, described)

    validation = _Validation(network, source, patches.apart, config, out.with_suffix(".agreement.jsonl"), on_event)

    def report(progress: Progress) -> None:
        on_event(progress.line("student", config.fit.steps))

    with ExitStack() as stack:
        average = fit(
            network,
            _BatchLoss(network, source, _label_source(labelled, config), described.separation, config, where, stack),
            config.fit,
            state=state,
            on_progress=report,
            should_stop=should_stop,
            images=config.batch,
            settings=identity,
            inspections=[Inspection(config.validate_every, validation)],
        )
    # The averaged weights are what is written, so they are what is measured.
    with weights_in_place(network, average):
        agreement = validation.measured()
    origin = _origin(teachers, config, agreement) | learned_from | (provenance or {})
    save_checkpoint(network_checkpoint(described, average, origin), out)
    return agreement


@dataclass(frozen=True, slots=True, eq=False)
class _Validation:
    """The loss on held-out patches at a step, with a line in the log and one for who listens."""

    network: nn.Module
    source: SoftCropSource
    numbers: Sequence[int]
    """Of the held-out patches."""
    config: DistillConfig
    log: Path
    on_event: Callable[[str], None]

    def measured(self) -> Agreement:
        """How well the network agrees with the teacher as it is."""
        return measure_agreement(self.network, self.source, self.numbers, self.config)

    def __call__(self, step: int) -> float:
        agreement = self.measured()
        # A training that was killed after this line was written measures the step once more.
        trim_log(self.log, step - 1)
        append_log(self.log, {"step": step} | asdict(agreement))
        self.on_event(
            f"student: step {step}  held-out loss {agreement.loss:.4f}  Dice with the teacher {agreement.dice:.4f}  "
            f"difference {agreement.difference:.4f}"
        )
        return agreement.loss


class _BatchLoss:
    """The loss of part k of the training."""

    def __init__(
        self,
        network: nn.Module,
        source: SoftCropSource,
        labels: CropSource | None,
        separation: str,
        config: DistillConfig,
        device: torch.device,
        stack: ExitStack,
    ) -> None:
        self.network = network
        self.labels = labels
        self.separation = separation
        self.config = config
        self.device = device
        size = part_size(config.batch, config.fit, ALONE)
        self.crops: Callable[[int], list[SoftCrop]] = lambda part: source.batch(part, size)
        self.annotated: Callable[[int], list[Crop]] = lambda part: (
            labels.batch(part, config.label_batch) if labels else []
        )
        # Threads that cut crops ahead help where a GPU computes; on a CPU they take its cores away.
        if device.type != "cpu":
            self.crops = _ahead(self.crops, stack)
            self.annotated = _ahead(self.annotated, stack)

    def __call__(self, part: int) -> Tensor:
        soft = self.crops(part)
        hard = self.annotated(part)
        pixels = to_network(np.stack([*(crop.image for crop in soft), *(crop.image for crop in hard)])).to(self.device)
        raw: DenseOutput = self.network(pixels)
        config = self.config
        count = len(soft)
        # Losses in fp32: bf16 rounds away the small differences that soft targets are about.
        with torch.autocast(self.device.type, enabled=False):
            raw = raw.float()
            # Soft and hard crops went through the network as one batch, which is faster; here they part.
            taught = DenseOutput(raw.classes[:count], raw.maps[:count])
            loss = soft_loss(taught, [crop.target for crop in soft], config.map_weight)
            loss = loss + config.consistency * inconsistency(taught, soft)
            if hard:
                assert config.mpp is not None  # set when the training began
                wanted = make_targets(
                    hard, self.separation, 0, mpp=config.mpp, contact_weight=config.contact_weight
                ).to(self.device)
                annotated = DenseOutput(raw.classes[count:], raw.maps[count:])
                loss = loss + config.label_weight * unet_loss(annotated, wanted, config)
        return loss


def _ahead(function: Callable[[int], Any], stack: ExitStack) -> Callable[[int], Any]:
    return stack.enter_context(closing(Prefetcher(function, threads=_THREADS)))


def _identity(
    teachers: Sequence[Teacher], images: Sequence[Pixels], weights: Sequence[float] | None, described: NetworkConfig
) -> dict[str, Any]:
    """What a continued distillation has to share with its beginning, beside its settings."""
    return {
        "teacher": " ".join(each.sha256 for each in teachers),
        "sources": source_identity(images, weights),
        "network": described.network,
    }


def _check_output(out: Path, state: Path) -> None:
    """Raise OutputError where the student could not be written, or would replace something else."""
    check_place(out)
    if out.exists() and not state.exists():
        raise OutputError(
            f"{out} is there already, and no {state.name} beside it to go on from: it is of another training; "
            "choose another output, or delete it"
        )


def _soft_source(
    patches: TeacherPatches, described: NetworkConfig, scales: Scales, config: DistillConfig
) -> SoftCropSource:
    return SoftCropSource(
        read=patches.patch,
        numbers=patches.training,
        classes=len(described.classes),
        separation=described.separation,
        mpp=scales.student,
        step=scales.step,
        size=config.crop,
        seed=config.seed,
        augmentation=config.augmentation,
    )


def _label_source(labelled: Sequence[LabelledImage], config: DistillConfig) -> CropSource | None:
    if not labelled:
        return None
    assert config.mpp is not None  # set when the training began
    return CropSource(
        images=labelled,
        mpp=config.mpp,
        size=config.crop,
        seed=config.seed + _LABEL_SEED,
        augmentation=config.augmentation,
    )


def _origin(teachers: Sequence[Teacher], config: DistillConfig, agreement: Agreement) -> dict[str, Any]:
    """Where the weights come from."""
    taught = [{"name": each.name, "sha256": each.sha256, "provenance": each.provenance} for each in teachers]
    return origin_of(config, teachers=taught, agreement=asdict(agreement))
