"""Results as QuPath gives them back: features to change, and questions to the data set that comes of them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import shapely

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.corrections.changes import Changes

Features = list[dict]


def shape_of(feature: dict) -> shapely.Geometry:
    return shapely.geometry.shape(feature["geometry"])


def index_near(features: Features, x: float, y: float) -> int:
    """The nucleus whose middle is nearest to a place."""
    middles = shapely.centroid(np.array([shape_of(feature) for feature in features]))
    return int(np.argmin(shapely.distance(middles, shapely.Point(x, y))))


def drawn(shape: shapely.Geometry, class_name: str = "", **properties: object) -> dict:
    """An annotation as QuPath writes it."""
    about: dict[str, object] = {"objectType": "annotation", **properties}
    if class_name:
        about["classification"] = {"name": class_name, "color": [9, 8, 7]}
    geometry = shapely.geometry.mapping(shape)
    return {"type": "Feature", "id": str(uuid.uuid4()), "geometry": geometry, "properties": about}


def reshape(feature: dict, shape: shapely.Geometry) -> None:
    feature["geometry"] = shapely.geometry.mapping(shape)


def name_class(feature: dict, name: str) -> None:
    feature["properties"]["classification"] = {"name": name, "color": [1, 2, 3]}


def write(folder: Path, features: Features) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "corrected.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def corrected(reference: Path, folder: Path, features: Features, **options: object) -> Dataset:
    return open_dataset(f"{reference}={write(folder, features)}", **options)


def changes_of(dataset: Dataset) -> Changes:
    return dataset.layout._slides[0].correction.changes


def counts(dataset: Dataset) -> dict[str, int]:
    changes = changes_of(dataset)
    names = ("deleted", "edited", "replaced", "given")
    numbers = {name: len(getattr(changes, name)) for name in names}
    return numbers | {"added": changes.added, "left": changes.left}


def at(dataset: Dataset, x: float, y: float) -> tuple[LabelledImage, int, int]:
    """The image that shows a place, and the pixel of the place in it."""
    for image, region in zip(dataset, dataset.layout._regions, strict=True):
        box = region.box
        if box.y0 <= y < box.y1 and box.x0 <= x < box.x1:
            return image, int(y) - box.y0, int(x) - box.x0
    raise AssertionError(f"no region shows {x}, {y}")


def label_at(dataset: Dataset, shape: shapely.Geometry) -> int:
    point = shape.representative_point()
    image, y, x = at(dataset, point.x, point.y)
    return int(image.labels[y, x])


def class_at(dataset: Dataset, shape: shapely.Geometry) -> str:
    point = shape.representative_point()
    image, y, x = at(dataset, point.x, point.y)
    if image.classes is None:
        return ""
    number = int(image.classes[image.labels[y, x]])
    return dataset.classes[number - 1].name if number else ""


def square(x: float, y: float, side: float) -> shapely.Polygon:
    return shapely.box(x, y, x + side, y + side)


def free_square(features: Features, side: int = 10) -> shapely.Polygon:
    """A square that no nucleus touches."""
    tree = shapely.STRtree([shape_of(feature) for feature in features])
    for y in range(320, 400):
        for x in range(320, 400):
            if not len(tree.query(square(x - 2, y - 2, side + 4))):
                return square(x, y, side)
    raise AssertionError("no room")
