"""The teacher of a distillation, and what it says of one patch of tissue.

It sees a patch as `segment` would: at its own resolution, with the tissue around the patch as
context, mirrored beyond the image's border, its normalisation fitted to the source. Its scores are
then brought to the resolution at which patches are kept. Several teachers are asked one after the
other, and the mean of what they say is taught (an ensemble: Hinton et al. 2015, section 4): models
that differ in resolution and build make different errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.datasets.sampling.patches import area, corner
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.pipeline.block import mirrored
from wsinuc.pipeline.calibrate import COUNT, SIDE
from wsinuc.segmenters import check_outlines_itself, load_segmenter, model_path
from wsinuc.segmenters.base import Segmenter
from wsinuc.urls import PathLike

GRID = 64
"""Tiles keep a multiple of this many pixels."""


class Teaching(Segmenter, Protocol):
    """What is asked of a segmenter beyond what the pipeline asks; every one that gives scores of pixels has it."""

    config: Any
    """With ``watershed`` and ``separation``."""

    def with_core(self, side: int) -> Teaching:
        """The same with smaller tiles; see `wsinuc.segmenters.tiled.TiledSegmenter.with_core`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A segmenter and where it is from."""

    segmenter: Teaching
    name: str
    sha256: str
    """Of its file."""
    provenance: dict[str, Any]
    """What its checkpoint says of its training."""


def check_teachers(teachers: Sequence[Teacher]) -> None:
    """Raise ConfigError where teachers do not tell the same classes apart in the same way."""
    first = teachers[0]
    for other in teachers[1:]:
        for what in ("classes", "separation"):
            one = _trait(first, what)
            two = _trait(other, what)
            if one != two:
                raise ConfigError(
                    f"teachers whose scores are averaged must agree in their {what}: {first.name} has {one}, "
                    f"{other.name} has {two}"
                )


def _trait(teacher: Teacher, what: str) -> str:
    if what == "classes":
        return ", ".join(each.name for each in teacher.segmenter.classes)
    return str(getattr(teacher.segmenter.config, what))


def load_teacher(model: PathLike, *, device: str = "auto") -> Teacher:
    """The teacher by the name of a shipped model or the path of a checkpoint.

    Raises
    ------
    CheckpointError
        There is no such model, its file is no segmenter, or it gives classes to whole nuclei, where a student
        learns scores of pixels.
    DeviceError
        There is no such device here.
    """
    checkpoint = load_checkpoint(model_path(model), "segmenter")
    check_outlines_itself(checkpoint, model)
    segmenter = cast(Teaching, load_segmenter(model, device=device))
    return Teacher(
        segmenter=segmenter, name=Path(model).name, sha256=checkpoint.sha256, provenance=checkpoint.provenance
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Side of a patch, and the resolutions at which it is learnt and kept: um per pixel."""

    patch: int
    """Side in pixels of the student."""
    student: float
    teacher: float
    """The finest teacher's."""

    @property
    def source(self) -> float:
        """At which sources are opened and patches kept: the finer of the two, so that neither is short of detail."""
        return min(self.student, self.teacher)

    @property
    def step(self) -> float:
        """Kept pixels per pixel of the student, at least 1."""
        return self.student / self.source

    @property
    def side(self) -> int:
        """Side of a kept patch in its own pixels, which at zoom 1 are pixels of the source."""
        return math.ceil(self.patch * self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a patch lies."""

    source: int
    """Number of its image."""
    y: int
    x: int
    """Corner in source pixels; outside the image where that is smaller than the patch."""
    zoom: float


def draw_spot(
    images: Sequence[Pixels], shares: NDArray[np.float64], scales: Scales, zoom: float, key: tuple[int, int]
) -> Spot:
    """A random patch; a function of its key alone. ``shares`` are the probabilities of the images."""
    rng = np.random.default_rng(key)
    source = int(rng.choice(len(images), p=shares))
    # Even in the logarithm, so that enlarging and shrinking are equally likely.
    drawn = float(np.exp(rng.uniform(-1, 1) * np.log(zoom)))
    height, width = images[source].shape[:2]
    field = scales.side * drawn
    y, x = corner(images[source], rng, min(field, height), min(field, width))
    # An image smaller than the patch lies anywhere in it; the rest is mirrored.
    missing = np.array([max(0.0, field - height), max(0.0, field - width)]) * rng.random(2)
    return Spot(source=source, y=math.floor(y - missing[0]), x=math.floor(x - missing[1]), zoom=drawn)


def cut_square(image: Pixels, y: float, x: float, extent: float, side: int) -> NDArray[np.uint8]:
    """The square of ``extent`` pixels with its corner at (y, x) as RGB ``(side, side, 3)``,
    mirrored beyond the image."""
    box = Box(math.floor(y), math.floor(x), math.ceil(y + extent), math.ceil(x + extent))
    inside = box.clip(Box.of_shape((image.shape[0], image.shape[1])))
    pixels = mirrored(image[inside.slices], inside, box)
    # On whole pixels there is nothing to resample, and resampling would blur.
    if extent == side and (y, x) == (box.y0, box.x0):
        return np.ascontiguousarray(pixels)
    left = x - box.x0
    top = y - box.y0
    # Past the pixels by rounding at most, which Pillow refuses.
    right = min(left + extent, box.shape[1])
    bottom = min(top + extent, box.shape[0])
    return np.asarray(
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    )


class PatchTeacher:
    """Scores of patches by a teacher.

    Parameters
    ----------
    segmenter
        The teacher; its tiles shrink to what a patch needs.
    scales
        Resolutions and the side of a patch.
    """

    def __init__(self, segmenter: Teaching, scales: Scales) -> None:
        self.factor = segmenter.mpp / scales.source
        """Kept pixels per pixel of the teacher."""
        self.side = scales.side / self.factor
        """Of a patch in pixels of the teacher."""
        # A tile much larger than the patch would score pixels that nobody keeps.
        core = math.ceil(self.side / GRID) * GRID
        if core < segmenter.tile - 2 * segmenter.margin:
            self.segmenter = segmenter.with_core(core)
        else:
            self.segmenter = segmenter
        self.scales = scales
        self.stride = self.segmenter.tile - 2 * self.segmenter.margin
        self.tiles = math.ceil(self.side / self.stride)

    def fitted(self, image: Pixels, key: tuple[int, int]) -> PatchTeacher:
        """Itself with the normalisation fitted to an image, by samples of its tissue as `segment` takes them.

        An image that is hardly larger than one sample is left as it is: its patches' own statistics are the image's.
        """
        factor = self.factor
        count = min(COUNT, int(area(image) / (SIDE * factor) ** 2))
        # One sample says no more of an image than its patches do.
        if count < 2:
            return self
        rng = np.random.default_rng(key)
        sides = [min(SIDE * factor, side) for side in image.shape[:2]]
        corners = [corner(image, rng, *sides) for _ in range(count)]
        samples = np.stack([cut_square(image, int(y), int(x), SIDE * factor, SIDE) for y, x in corners])
        return PatchTeacher(cast(Teaching, self.segmenter.calibrate(samples)), self.scales)

    def teach(self, image: Pixels, spots: Sequence[Spot]) -> NDArray[np.uint8]:
        """Pixels and scores of patches of one image: ``(n, 3 + channels, side, side)``, RGB first."""
        reach = self.tiles * self.stride + 2 * self.segmenter.margin
        fields = []
        for spot in spots:
            step = self.factor * spot.zoom
            y, x = (start - self.segmenter.margin * step for start in (spot.y, spot.x))
            fields.append(cut_square(image, y, x, reach * step, reach))
        scores = self._as_kept(self._scores(np.stack(fields)))
        side = self.scales.side
        pixels = [cut_square(image, s.y, s.x, side * s.zoom, side) for s in spots]
        return np.concatenate([np.moveaxis(np.stack(pixels), 3, 1), scores], 1)

    def _scores(self, fields: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scores of fields tile by tile, ``(n, channels, side, side)`` without the margin around the field."""
        inner = self.tiles * self.stride
        scores = np.empty((len(fields), self.segmenter.channels, inner, inner), np.uint8)
        for y in range(0, inner, self.stride):
            for x in range(0, inner, self.stride):
                tile = fields[:, y : y + self.segmenter.tile, x : x + self.segmenter.tile]
                inside = self.segmenter.predict(np.ascontiguousarray(tile))
                scores[:, :, y : y + self.stride, x : x + self.stride] = inside
        return scores

    def _as_kept(self, scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The patch's part of the scores, at the resolution at which it is kept."""
        side = self.scales.side
        if self.side == side:
            return scores[:, :, :side, :side]
        box = (0, 0, self.side, self.side)
        resized = [
            np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR, box=box))
            for plane in scores.reshape(-1, *scores.shape[2:])
        ]
        return np.stack(resized).reshape(*scores.shape[:2], side, side)


class JointTeacher:
    """What several teachers say of the same patches, on average."""

    def __init__(self, teachers: Sequence[PatchTeacher]) -> None:
        self.teachers = teachers

    @property
    def together(self) -> int:
        """Patches that are scored at once."""
        return min(teacher.segmenter.batch_size for teacher in self.teachers)

    def fitted(self, image: Pixels, key: tuple[int, int]) -> JointTeacher:
        """Itself with each normalisation fitted to an image."""
        return JointTeacher([teacher.fitted(image, key) for teacher in self.teachers])

    def teach(self, image: Pixels, spots: Sequence[Spot]) -> NDArray[np.uint8]:
        """Pixels and mean scores of patches of one image, as `PatchTeacher.teach` gives them."""
        taught = [teacher.teach(image, spots) for teacher in self.teachers]
        # Scores are levels of 1 / 255, so the mean is rounded to one, too.
        mean: NDArray[np.float64] = np.mean(taught, axis=0)
        return np.rint(mean).astype(np.uint8)
