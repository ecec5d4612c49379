"""What method C learns from: crops with their label, distance map, layout and prompt, all of them
made after augmentation.

A crop's layout is that of the nuclei as the crop shows them: a nucleus cut by the border has its centroid inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import CropSource
from wsinuc.errors import DataError
from wsinuc.models.diffusion.joint import JointUnit
from wsinuc.models.pixels import to_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.synthesis.distance_map import centroid_distance
from wsinuc.synthesis.layouts import NucleusLayout, layout_of
from wsinuc.synthesis.prompts import Prompt
from wsinuc.synthesis.tissues import stain_of, tissue_of, tissue_word
from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class JointExample:
    """One training example."""

    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    distance: NDArray[np.float32]
    """(h, w) in [0, 1]."""
    label: NDArray[np.int32]
    """(h, w) class of each pixel, 0 is background."""
    points: NDArray[np.int32]
    """(h, w) class at the pixel of each nucleus, 0 elsewhere."""
    prompt: Prompt


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class JointExamples:
    """Endless examples; number k depends on the seed and k alone."""

    crops: CropSource
    classes: Sequence[NucleusClass]
    tissues: Sequence[tuple[str, str]]
    """Tissue and stain of each image."""

    @classmethod
    def of(
        cls,
        images: Sequence[LabelledImage],
        classes: Sequence[NucleusClass],
        config: CoSynTrainConfig,
        weights: Sequence[float] | None = None,
    ) -> JointExamples:
        """The examples of a training; raises DataError when there are no images, or a named column is not theirs."""
        plain = "augmentation" in config.without
        augmentation = Augmentation(zoom=config.zoom, stain=config.stain)
        if plain:
            augmentation = Augmentation(zoom=1.0, stain=0.0)
        crops = CropSource(
            images=images,
            mpp=config.mpp,
            size=config.patch,
            seed=config.seed,
            weights=weights,
            augmentation=augmentation,
            turned=not plain,
        )
        return cls(crops=crops, classes=classes, tissues=[tissue_and_stain(image, config) for image in images])

    def example(self, index: int) -> JointExample:
        """Example number ``index``."""
        crop = self.crops.crop(index)
        # Nuclei of unknown class are background in all parts.
        labels = np.where(crop.class_map > 0, crop.labels, 0)
        tissue, stain = self.tissues[crop.source]
        shown = np.unique(crop.class_map)
        return JointExample(
            image=crop.image,
            distance=centroid_distance(labels),
            label=crop.class_map,
            points=layout_of_map(labels, crop.class_map).point_map,
            prompt=Prompt(tissue=tissue, stain=stain, classes=tuple(self.classes[c - 1].name for c in shown if c)),
        )


def tissue_and_stain(image: LabelledImage, config: CoSynTrainConfig) -> tuple[str, str]:
    """Tissue and stain of an image as prompts write them; H&E, which prompts do not name, is empty.

    Raises
    ------
    DataError
        The column that the config names is none of the image's.
    """
    row = image.attributes
    if config.tissue_column and config.tissue_column not in row:
        raise DataError(f"the images have no {config.tissue_column!r} to name their tissue; they have {', '.join(row)}")
    return tissue_of(row, config.tissue_column) or tissue_word(config.tissue), stain_of(row)


def check_tissue(images: Sequence[LabelledImage], config: CoSynTrainConfig) -> None:
    """Raise DataError where a tissue is given and every image names its own: the given one would mean nothing."""
    named = [tissue_of(image.attributes, config.tissue_column) for image in images]
    if config.tissue and named and all(named):
        raise DataError(
            f"{config.tissue!r} would be the tissue of images that name none, but all of these do: "
            f"{', '.join(sorted(set(named)))}; leave --tissue out"
        )


def layout_of_map(labels: NDArray[np.int32], class_map: NDArray[np.int32]) -> NucleusLayout:
    """`layout_of` where classes are given for pixels: a label is one class all over."""
    classes = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    classes[labels] = class_map
    return layout_of(labels, classes)


def layouts_by_tissue(
    images: Sequence[LabelledImage], config: CoSynTrainConfig
) -> Mapping[str, Sequence[NucleusLayout]]:
    """Layouts of whole images at ``config.mpp``, by tissue."""
    layouts: dict[str, list[NucleusLayout]] = {}
    for image in images:
        factor = image.mpp / config.mpp
        layout = layout_of_map(np.where(image.class_map > 0, image.labels, 0), image.class_map)
        shape = tuple(max(1, round(extent * factor)) for extent in layout.shape)
        scaled = np.clip(layout.points * factor, 0, np.subtract(shape, 1e-6))
        layouts.setdefault(tissue_and_stain(image, config)[0], []).append(
            NucleusLayout(shape=(shape[0], shape[1]), points=scaled, classes=layout.classes)
        )
    return layouts


def as_unit(examples: Sequence[JointExample]) -> tuple[JointUnit, torch.Tensor]:
    """The clean unit of some examples, and their layouts int64 ``(n, h, w)``."""
    image = to_network(np.stack([e.image for e in examples]))
    distance = torch.from_numpy(np.stack([e.distance for e in examples]))[:, None] * 2 - 1
    label = torch.from_numpy(np.stack([e.label for e in examples]).astype(np.int64))
    points = torch.from_numpy(np.stack([e.points for e in examples]).astype(np.int64))
    return JointUnit(image.contiguous(memory_format=torch.channels_last), distance, label), points
