"""Label images and slide of a finished result as an OME-Zarr of their own: another version, other pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from wsinuc.config import check_image
from wsinuc.errors import ConfigError, SlideError
from wsinuc.exports.atomic import appearing
from wsinuc.exports.ome_zarr.arrays import MAX_CHUNK, create_canvas, create_levels
from wsinuc.exports.ome_zarr.copy_plan import SlideCopy, plan_copy
from wsinuc.exports.ome_zarr.metadata import (
    CLASS_IMAGE,
    SEMANTIC,
    VERSIONS,
    Canvas,
    Version,
    blank_canvas,
    classes_of,
    describe_canvas,
    describe_labels,
    semantic_classes,
)
from wsinuc.exports.ome_zarr.slide_copy import BLOCK, write_copy
from wsinuc.grid import BlockGrid
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.slides.identity.fingerprint import fingerprint
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.store.manifest import require_whole
from wsinuc.urls import to_place

_LABELS: dict[str, type[np.integer[Any]]] = {"nuclei": np.uint32, CLASS_IMAGE: np.uint8, SEMANTIC: np.uint8}
_SIDE = 4 * MAX_CHUNK  # of what is read and written at once


def write_ome_zarr(result: Path, out: Path, *, version: Version = "0.5", image: str | None = None) -> None:
    """Write the label images of a result below pixels of its slide, as one OME-Zarr container.

    Memory does not grow with the slide or the number of nuclei. The container appears whole or not at all.

    Parameters
    ----------
    result
        A finished result, ``slide.wsinuc``.
    out
        The container to make, such as ``slide.ome.zarr``; it must not exist.
    version
        Of OME-NGFF: 0.5 (Zarr 3) or 0.4 (Zarr 2), which QuPath reads as well.
    image
        How much of the slide is copied, one of ``wsinuc.config.IMAGES``; None keeps what the result has. Other than
        that, and none, needs the slide where it was.

    Raises
    ------
    ConfigError
        There is no such version, or no such copy.
    DamageError
        The result is damaged.
    OutputError
        It is no finished result, ``out`` exists, or cannot be written.
    SlideError
        The slide is needed, and is gone or another one.
    """
    if version not in VERSIONS:
        raise ConfigError(f"OME-Zarr is written in version {' or '.join(VERSIONS)}, got {version!r}")
    if image is not None:
        check_image(image)
    source = _open_source(Path(result))
    with appearing(Path(out)) as partial:
        canvas = _write_canvas(source, partial, image, version)
        root = zarr.open_group(partial, mode="r+")
        for name, dtype in source.label_images.items():
            shapes = [(level.shape[0], level.shape[1]) for level in source.labels(name)]
            targets = create_levels(root, f"labels/{name}", shapes, _SIDE, dtype, version=version)
            _copy_levels(source.labels(name), targets)
        describe_labels(root, source.mpp, len(shapes), source.classes, version, semantic=semantic_classes(source.root))
        describe_canvas(root, canvas, version)


@dataclass(frozen=True, slots=True)
class _Source:
    """The container of a finished result."""

    # Zarr's own types know neither which nodes are arrays nor what attributes hold.
    root: Any
    summary: Mapping[str, Any]

    def labels(self, name: str) -> list[zarr.Array[Any]]:
        """Levels of a label image, the finest first."""
        datasets = self.root[f"labels/{name}"].attrs["ome"]["multiscales"][0]["datasets"]
        return [self.root[f"labels/{name}/{dataset['path']}"] for dataset in datasets]

    @property
    def label_images(self) -> dict[str, type[np.integer[Any]]]:
        """Label images that the result has, and the type of each."""
        return {name: dtype for name, dtype in _LABELS.items() if f"labels/{name}" in self.root}

    def canvas(self) -> list[zarr.Array[Any]]:
        """Levels of the slide's copy; empty for a result of a version that made none."""
        return [self.root[str(level)] for level in range(len(self.labels("nuclei"))) if str(level) in self.root]

    @property
    def mpp(self) -> float:
        """um per pixel of the labels."""
        return float(self.summary["settings"]["mpp"])

    @property
    def image(self) -> str:
        """How much of the slide the result holds."""
        return str(self.summary["settings"].get("image", "none"))

    @property
    def classes(self) -> list[NucleusClass]:
        """Names and colours, in the order of their indices."""
        return classes_of(self.root[f"labels/{CLASS_IMAGE}"].attrs["ome"]["image-label"])


def _open_source(result: Path) -> _Source:
    made = require_whole(result)
    return _Source(zarr.open_group(result / "labels.ome.zarr", mode="r"), made.content)


def _write_canvas(source: _Source, path: Path, image: str | None, version: Version) -> Canvas:
    """Begin the container with what is asked for of the slide."""
    if image is not None and image not in ("none", source.image):
        return _from_slide(source, path, image, version)
    root = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    levels = source.canvas()
    if image == "none" or source.image == "none" or not levels:
        shapes = [(level.shape[0], level.shape[1]) for level in source.labels("nuclei")]
        create_canvas(root, shapes, BLOCK, version=version)
        return blank_canvas(source.mpp, len(shapes))
    shapes = [(level.shape[1], level.shape[2]) for level in levels]
    targets = create_canvas(root, shapes, BLOCK, version=version)
    _copy_levels(levels, targets)
    datasets = source.root.attrs["ome"]["multiscales"][0]["datasets"]
    scales = tuple(tuple(dataset["coordinateTransformations"][0]["scale"][1:]) for dataset in datasets)
    return Canvas(scales=scales, labels_mpp=source.mpp)


def _from_slide(source: _Source, path: Path, image: str, version: Version) -> Canvas:
    """Begin the container with pixels that the result does not hold."""
    settings = source.summary["settings"]
    place = to_place(source.summary["slide"])
    mpp = source.summary["config"].get("mpp")
    try:
        slide = open_isolated(place, reader=settings["reader"], mpp=mpp)
        same = fingerprint(place) == settings["slide"]
    except (OSError, SlideError) as error:
        raise SlideError(
            f"a copy {image!r} of the slide needs {place}, which cannot be opened ({error}): put it there, or leave "
            "the choice of the copy out to keep what the result has"
        ) from error
    with slide:
        view = slide.at(source.mpp)
        if not same or list(view.shape) != list(settings["shape"]):
            raise SlideError(f"{place} is not the slide of this result: it was replaced or changed since")
        copy: SlideCopy = plan_copy(view, image)
        return write_copy(copy, path, version=version)


def _copy_levels(sources: list[zarr.Array[Any]], targets: list[zarr.Array[Any]]) -> None:
    """Copy pyramids block by block; what holds nothing but the fill value is left out by the target."""
    for source, target in zip(sources, targets, strict=True):
        height, width = source.shape[-2:]
        for block in BlockGrid((height, width), _SIDE, 0):
            index = (..., *block.core.slices)
            target[index] = source[index]
