"""A slide of two kinds of nuclei whose segmenter knows one, its result, and files of labels of all sorts."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tifffile
import torch
from numpy.typing import NDArray

from helpers.files.point_sets import MPP, DarkSegmenter, draw
from wsinuc.config import SegmentConfig
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.store import iter_tables
from wsinuc.workflows.segment.run import segment_slide

KINDS = ("Round", "Long")


class FileSegmenter(DarkSegmenter):
    """The same from a file, as shipped models are."""

    weights_sha256 = ""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: object, dtype: object) -> FileSegmenter:
        segmenter = cls()
        segmenter.weights_sha256 = checkpoint.sha256
        return segmenter


def write_base(path: Path) -> Path:
    """A checkpoint of the segmenter; the test names "dark" in `wsinuc.segmenters.METHODS`."""
    tensors = {"nothing": torch.zeros(1)}
    save_checkpoint(Checkpoint(kind="segmenter", config={"method": "dark"}, provenance={}, tensors=tensors), path)
    return path


@dataclass(frozen=True)
class TaughtSlide:
    """A slide and its result."""

    slide: Path
    result: Path
    kinds: NDArray[np.int64]
    """(n,) of the nuclei of the table: 0 round, 1 long."""
    table: pa.Table


def make_slide(
    folder: Path, name: str, seed: int, base: Path, shape: tuple[int, int] = (320, 320), **changes: Any
) -> TaughtSlide:
    """Draw a slide and segment it."""
    image, points, classes = draw(shape, seed)
    slide = folder / f"{name}.tiff"
    resolution = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(slide, image, tile=(256, 256), photometric="rgb", **resolution)
    result = folder / f"{name}.wsinuc"
    settings = {
        "tissue": "none",
        "block": 192,
        "mpp": MPP,
        "model": str(base),
        "measure": "all",
        "image": "none",
        **changes,
    }
    segment_slide(slide, result, SegmentConfig(**settings))
    table = pa.concat_tables(list(iter_tables(result)))
    xy = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
    distances = np.linalg.norm(xy[:, None] - points[None, :, ::-1] - 0.5, axis=2)
    kinds = classes[distances.argmin(axis=1)] - 1
    return TaughtSlide(slide, result, kinds.astype(np.int64), table)


def some_rows(kinds: NDArray[np.int64], each: int, seed: int = 0) -> NDArray[np.intp]:
    """So many rows of each kind."""
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(kinds == kind))[:each] for kind in (0, 1)]))


def exported(result: Path) -> list[dict[str, Any]]:
    """The features of a result's GeoJSON."""
    return list(json.loads((result / "nuclei.geojson").read_text())["features"])


def write_features(path: Path, features: list[dict[str, Any]]) -> Path:
    """A collection as QuPath writes it."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def labelled_detections(slide: TaughtSlide, rows: NDArray[np.intp], path: Path, names: tuple[str, str] = KINDS) -> Path:
    """Detections of the result whose class was set."""
    by_id = {feature["id"]: feature for feature in exported(slide.result)}
    features = []
    for row in rows.tolist():
        feature = by_id[slide.table["uuid"][row].as_py()]
        name = names[slide.kinds[row]]
        color = [10, 20, 30] if slide.kinds[row] == 0 else [200, 100, 0]
        feature["properties"]["classification"] = {"name": name, "color": color}
        features.append(feature)
    return write_features(path, features)


def labelled_points(slide: TaughtSlide, rows: NDArray[np.intp], path: Path, shift: float = 0) -> Path:
    """A MultiPoint for each class, as QuPath's points tool gives."""
    features = []
    for kind, name in enumerate(KINDS):
        own = [row for row in rows.tolist() if slide.kinds[row] == kind]
        places = [[slide.table["x"][row].as_py() + shift, slide.table["y"][row].as_py()] for row in own]
        properties = {"objectType": "annotation", "classification": {"name": name}}
        geometry = {"type": "MultiPoint", "coordinates": places}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return write_features(path, features)


def labelled_table(slide: TaughtSlide, rows: NDArray[np.intp], path: Path) -> Path:
    """A CSV of UUIDs with classes."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uuid", "class"])
        writer.writerows([slide.table["uuid"][row].as_py(), KINDS[slide.kinds[row]]] for row in rows.tolist())
    return path
