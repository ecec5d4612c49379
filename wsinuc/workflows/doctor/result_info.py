"""What a finished result holds, from its summary and from what describes its label images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from wsinuc.exports.formats.write import finished
from wsinuc.exports.ome_zarr.metadata import classes_of
from wsinuc.store.manifest import read_made


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultDescription:
    """A finished result in a few facts."""

    result: str
    slide: str
    model: str
    mpp: float
    """um per pixel of the label images."""
    shape: tuple[int, int]
    """(height, width) of the label images."""
    nuclei: int
    counts: dict[str, int]
    """Nuclei of each class."""
    tissue_mm2: float
    semantic_mm2: dict[str, float] | None
    """Area of the pixels of each class before nuclei are separated; None where the result has no such image."""
    label_images: dict[str, list[str]]
    """Label images by name, each with its classes in the order of their values; without any where values are ids."""
    outputs: tuple[str, ...]


def describe_result(folder: Path) -> ResultDescription:
    """The facts of a finished result; raises DamageError or OutputError where it is none."""
    result = finished(folder)
    summary = read_made(result).content
    settings = summary["settings"]
    return ResultDescription(
        result=str(result),
        slide=str(summary["slide"]),
        model=str(summary["config"].get("model", "")),
        mpp=float(settings["mpp"]),
        shape=(int(settings["shape"][0]), int(settings["shape"][1])),
        nuclei=int(summary["nuclei"]),
        counts={name: int(count) for name, count in summary["counts"].items()},
        tissue_mm2=float(summary["tissue_mm2"]),
        semantic_mm2=summary.get("semantic_mm2"),
        label_images=_label_images(result / "labels.ome.zarr"),
        outputs=tuple(summary["outputs"]),
    )


def _label_images(container: Path) -> dict[str, list[str]]:
    # Zarr's own types do not know what attributes hold.
    root: Any = zarr.open_group(container, mode="r")
    images = {}
    for name in root["labels"].attrs["ome"]["labels"]:
        table = root[f"labels/{name}"].attrs["ome"]["image-label"]
        images[name] = [each.name for each in classes_of(table)] if "properties" in table else []
    return images
