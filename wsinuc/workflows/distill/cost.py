"""What a distillation takes: the student's size and steps, and a patch of the teacher, timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.models.networks.by_name import build_network
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.patches import scales_of
from wsinuc.workflows.distill.student import begin_with, describe_student
from wsinuc.workflows.distill.teacher import JointTeacher, PatchTeacher, Spot, Teacher
from wsinuc.workflows.training.cost import TrainingCost, estimate_network, measured


def distill_cost(
    teachers: Sequence[Teacher],
    images: Sequence[Pixels],
    config: DistillConfig,
    *,
    start: Path | None = None,
    labelled: bool = False,
) -> TrainingCost:
    """Size and cost of a distillation; the teacher scores one patch for it.

    Parameters
    ----------
    start
        An earlier student to go on from, which is opened.
    labelled
        Whether there are annotated images to learn from besides.

    Raises
    ------
    CheckpointError
        ``start`` is no student of these settings.
    """
    scales = scales_of(teachers, config)
    described = describe_student(teachers[0], replace(config, mpp=scales.student))
    if start is not None:
        begin_with(build_network("unet", described.network), start, described)
    crops = config.batch + (config.label_batch if labelled else 0)
    student = estimate_network(
        lambda: build_network("unet", described.network),
        lambda: [torch.zeros(1, 3, config.crop, config.crop)],
        crops,
        crops,
        bf16=config.fit.bf16,
    )
    teacher = JointTeacher([PatchTeacher(each.segmenter, scales) for each in teachers])
    patch = measured(lambda: teacher.teach(images[0], [Spot(source=0, y=0, x=0, zoom=1.0)]))
    return TrainingCost(
        parameters=student.parameters,
        flops=student.flops_per_step * config.fit.steps + patch.flops * config.patches,
        memory_bytes=student.memory_bytes,
        seconds=patch.seconds * config.patches,
        measured=f"the teacher took {patch.seconds:.2f} s for one patch; the student's steps come on top",
    )
