"""Patches with a teacher's scores, each computed once and kept in a folder.

The teacher is the dear part of a distillation. So its scores are files that appear whole or not at
all: an interrupted distillation goes on where it stopped, and a second student of the same teacher
starts with what is there. The folder says whose scores it holds and of what; those of another
teacher or other sources are refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.sampling.patches import area, source_identity
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.errors import CheckpointError, DataError
from wsinuc.exports.atomic import replacing
from wsinuc.own_files import check_folder
from wsinuc.progress_line import ProgressLine
from wsinuc.separation.channels import FOREGROUND
from wsinuc.store.files import as_json, disk_errors, read_json
from wsinuc.workflows.distill.config import DistillConfig
from wsinuc.workflows.distill.teacher import (
    JointTeacher,
    PatchTeacher,
    Scales,
    Spot,
    Teacher,
    check_teachers,
    draw_spot,
)
from wsinuc.workflows.train.soft_crops import COLORS

_RECORD = "patches.json"
_SAMPLE_SEED = 15_485_863  # added to the seed of the samples that fit the teacher to a source, apart from the patches
_EVERY_S = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherPatches:
    """Kept patches, read when they are asked for."""

    folder: Path
    training: tuple[int, ...]
    """Numbers of the patches to train on."""
    apart: tuple[int, ...]
    """Numbers of those that are held out."""

    def patch(self, index: int) -> NDArray[np.uint8]:
        """Pixels and scores of a patch, mapped from its file: ``(3 + channels, side, side)``, RGB first."""
        pixels: NDArray[np.uint8] = np.load(_path(self.folder, index), mmap_mode="r", allow_pickle=False)
        return pixels


def scales_of(teachers: Sequence[Teacher], config: DistillConfig) -> Scales:
    """Resolutions of a distillation; without one of its own, the student has the first teacher's."""
    return Scales(
        patch=config.patch,
        student=config.mpp or teachers[0].segmenter.mpp,
        teacher=min(teacher.segmenter.mpp for teacher in teachers),
    )


def make_patches(
    teachers: Sequence[Teacher],
    images: Sequence[Pixels],
    folder: Path,
    config: DistillConfig,
    *,
    weights: Sequence[float] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> TeacherPatches:
    """Let the teachers score the patches that ``folder`` lacks, and return them all.

    Parameters
    ----------
    teachers
        Their scores are averaged.
    images
        Sources at the finer of the teacher's and the student's resolution.
    weights
        How often each image is drawn; None draws by area.

    Raises
    ------
    CheckpointError
        The folder holds scores of another teacher, other sources or other patches.
    ConfigError
        The teachers differ in classes or separation.
    DataError
        There are no images, or the teacher finds no nucleus in any patch.
    OutputError
        The disk is full or not writable.
    """
    if not images:
        raise DataError("no images to learn from: the sources hold no readable image")
    check_teachers(teachers)
    scales = scales_of(teachers, config)
    identity = config.patch_identity() | {
        "mpp": scales.student,
        "teacher": " ".join(teacher.sha256 for teacher in teachers),
        "sources": source_identity(images, weights),
    }
    numbers = range(config.patches)
    patches = TeacherPatches(
        folder=folder,
        training=tuple(k for k in numbers if not config.is_apart(k)),
        apart=tuple(k for k in numbers if config.is_apart(k)),
    )
    with disk_errors(folder):
        _claim(folder, identity)
        shape = (COLORS + teachers[0].segmenter.channels, scales.side, scales.side)
        # What a killed run left is used; only patches that are missing or torn are scored.
        missing = [k for k in numbers if not _is_whole(_path(folder, k), shape)]
        if missing:
            spots = _spots(images, weights, scales, config, missing)
            joint = JointTeacher([PatchTeacher(teacher.segmenter, scales) for teacher in teachers])
            _teach(joint, images, spots, patches, config, on_event)
    if not any((patches.patch(k)[COLORS + FOREGROUND] >= 128).any() for k in patches.training):
        raise DataError(
            f"the teacher finds no nucleus in any of {len(patches.training)} patches: check that the sources are H&E "
            "tissue and that their resolution (um per pixel) is right"
        )
    return patches


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make the folder, or make sure that it holds patches of this very kind."""
    record = read_json(folder / _RECORD)
    differing = [name for name in identity if record and record.get(name) != identity[name]]
    if differing:
        shown = "; ".join(f"{name} was {_short(record.get(name))}, now {_short(identity[name])}" for name in differing)
        raise CheckpointError(
            f"{folder} holds scores of another distillation: {shown}. Go on with the old settings, delete it to start "
            "anew, or choose another output"
        )
    check_folder(folder)
    folder.mkdir(exist_ok=True)
    with replacing(folder / _RECORD) as stream:
        stream.write(as_json(identity))


def _short(value: Any) -> str:
    return str(value)[:12]


def _spots(
    images: Sequence[Pixels],
    weights: Sequence[float] | None,
    scales: Scales,
    config: DistillConfig,
    numbers: Sequence[int],
) -> dict[int, Spot]:
    """Where patches lie, by number."""
    shares = np.asarray(weights if weights is not None else [area(image) for image in images], np.float64)
    shares /= shares.sum()
    # Whole images are held out: patches of one image look alike, and would flatter the student.
    apart = images_apart(shares, config.held_out, config.seed)
    inside = np.where(apart, 0, shares)
    outside = np.where(apart, shares, 0)
    parts = [inside / inside.sum(), outside / outside.sum() if apart.any() else shares]
    return {k: draw_spot(images, parts[config.is_apart(k)], scales, config.zoom, (config.seed, k)) for k in numbers}


def images_apart(shares: NDArray[np.float64], held_out: float, seed: int) -> NDArray[np.bool_]:
    """Which images are held out: random ones that together give about ``held_out`` of the patches, bool ``(n,)``.

    None, where each image alone gives far more than that; held-out patches are then other ones of the same images.
    """
    apart = np.zeros(len(shares), bool)
    for index in np.random.default_rng(seed).permutation(len(shares)):
        if shares[apart].sum() >= held_out:
            break
        # Half as much again is the price of whole images; one that overshoots further is skipped.
        apart[index] = shares[apart].sum() + shares[index] <= 1.5 * held_out
    return apart


def _teach(
    teacher: JointTeacher,
    images: Sequence[Pixels],
    spots: dict[int, Spot],
    patches: TeacherPatches,
    config: DistillConfig,
    on_event: Callable[[str], None],
) -> None:
    """Score and keep patches, those of one image after each other."""
    begun = time.monotonic()
    reported = begun
    done = 0
    together = teacher.together
    # One image after the other, because the teacher is fitted to an image and large ones stay open.
    for source in sorted({spot.source for spot in spots.values()}):
        mine = [k for k, spot in spots.items() if spot.source == source]
        fitted = teacher.fitted(images[source], (config.seed + _SAMPLE_SEED, source))
        for start in range(0, len(mine), together):
            batch = mine[start : start + together]
            for k, patch in zip(batch, fitted.teach(images[source], [spots[k] for k in batch]), strict=True):
                with replacing(_path(patches.folder, k)) as stream:
                    np.save(stream, patch, allow_pickle=False)
            done += len(batch)
            now = time.monotonic()
            if now - reported > _EVERY_S or done == len(spots):
                reported = now
                each = (now - begun) / done
                left = each * (len(spots) - done)
                text = f"teacher: {done} of {len(spots)} patches  {each:.2f} s each  {left:.0f} s left"
                on_event(ProgressLine(text, stage="teacher", unit="patches", done=done, total=len(spots)))


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.npy"


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a patch was kept; one that cannot be read is made again."""
    try:
        patch = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return False
    return bool(patch.shape == shape and patch.dtype == np.uint8)
