"""GeoJSON as QuPath and others write it, good and odd, for tests of whatever reads it."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from wsinuc.tissue.outlines import Outlines

Ring = list[list[float]]


def square(x0: float, y0: float, x1: float, y1: float) -> Ring:
    """A closed ring."""
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def star(corners: int, size: float = 1000.0) -> Ring:
    """A closed ring that crosses itself about ``corners ** 2 / 3`` times; the same each time."""
    ring = [[round(size * (k * 0.754877 % 1), 2), round(size * (k * 0.569840 % 1), 2)] for k in range(corners)]
    return [*ring, ring[0]]


def circle(corners: int, radius: float = 1000.0) -> Ring:
    """A closed ring around (radius, radius)."""
    angles = [2 * math.pi * k / corners for k in range(corners)]
    ring = [[round(radius * (1 + math.cos(a)), 2), round(radius * (1 + math.sin(a)), 2)] for a in angles]
    return [*ring, ring[0]]


def polygon(*rings: Ring, **properties: Any) -> dict[str, Any]:
    """A feature with one polygon: an outer ring and holes."""
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def drawn(class_name: str | None, *rings: Ring, **properties: Any) -> dict[str, Any]:
    """An annotation with a class, as QuPath exports it; None has no class."""
    if class_name is not None:
        properties["classification"] = {"name": class_name, "color": [len(class_name) * 9, 10, 20]}
    return polygon(*rings, **({"objectType": "annotation"} | properties))


def marked(name: str | None, *places: list[float]) -> dict[str, Any]:
    """QuPath's points of one class, (x, y)."""
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name is not None:
        properties["classification"] = {"name": name, "color": [1, 2, 3]}
    geometry = {"type": "MultiPoint", "coordinates": list(places)}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(*features: Any) -> dict[str, Any]:
    """A FeatureCollection."""
    return {"type": "FeatureCollection", "features": list(features)}


def write(path: Path, content: Any) -> Path:
    """JSON, in a zip of one file where the name says so."""
    text = json.dumps(content)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}.geojson", text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def outlines_of(shape: BaseGeometry) -> Outlines:
    """The polygons that shapely has, as flat arrays."""
    polygons = [part for part in shapely.get_parts(shape).tolist() if part.geom_type == "Polygon"]
    _, xy, (rings, parts, *_) = shapely.to_ragged_array([shapely.MultiPolygon(polygons)])
    return Outlines(xy, rings[1:].astype(np.int64), parts[1:].astype(np.int64))


PLAIN = json.dumps(collection(polygon(square(0, 0, 9, 9), name="µ"))).encode()

ODD: dict[str, tuple[bytes, str | None]] = {
    "bom": (b"\xef\xbb\xbf" + PLAIN, None),
    "utf-16": (PLAIN.decode().encode("utf-16"), "UTF-16"),
    "utf-16 without a mark": (PLAIN.decode().encode("utf-16-le"), "UTF-16"),
    "utf-32": (PLAIN.decode().encode("utf-32"), "UTF-16 or UTF-32"),
    "latin-1": (PLAIN.replace(rb"\u00b5", b"\xb5"), "not UTF-8"),
    "a NUL byte": (PLAIN.replace(b"0, 0", b"0, \x000"), "cannot parse"),
    "empty": (b"", "cannot parse"),
    "cut": (PLAIN[:-3], "cannot parse"),
    "trailing text": (PLAIN + b" x", "cannot parse"),
    "two documents": (PLAIN + b"\n" + PLAIN, "cannot parse"),
    "NaN as a measurement": (PLAIN.replace(b'"name"', b'"a": NaN, "b": -Infinity, "name"'), None),
    "NaN in a text": (PLAIN.replace(b"\\u00b5", b"NaN -Infinity 1e999"), None),
    "NaN as a place": (PLAIN.replace(b"9.0, 9.0", b"9, 9").replace(b"[9, 9]", b"[NaN, 9]"), "not finite"),
    "Infinity as a place": (PLAIN.replace(b"[9, 9]", b"[Infinity, 9]"), "not finite"),
    "1e400": (PLAIN.replace(b"[9, 9]", b"[1e400, 9]"), "not finite"),
    "a huge number": (PLAIN.replace(b"[9, 9]", b"[1e300, 9]"), "no slide does"),
    "a long whole number": (PLAIN.replace(b"[9, 9]", b"[12345678901234567890123, 9]"), "no slide does"),
    "thousands of digits": (PLAIN.replace(b"[9, 9]", b"[" + b"9" * 5000 + b", 9]"), "not finite"),
    "minus zero": (PLAIN.replace(b"[0, 0]", b"[-0, -0.0]"), None),
    "numbers in quotes": (PLAIN.replace(b"[9, 9]", b'["9", "9.0"]'), None),
    "texts": (PLAIN.replace(b"[9, 9]", b'["a", "b"]'), "two numbers"),
    "booleans": (PLAIN.replace(b"[9, 9]", b"[true, false]"), "two numbers"),
    "null as a place": (PLAIN.replace(b"[9, 9]", b"null"), "two numbers"),
    "an object as a place": (PLAIN.replace(b"[9, 9]", b'{"x": [[1]]}'), "two numbers"),
    "one number": (PLAIN.replace(b"[9, 9]", b"[9]"), "not nested"),
    "three numbers": (PLAIN.replace(b"[9, 9]", b"[9, 9, 4]"), None),
    "a level too few": (PLAIN.replace(b"[[[", b"[[").replace(b"]]]", b"]]"), "not nested"),
    "a level too many": (PLAIN.replace(b"[[[", b"[[[[").replace(b"]]]", b"]]]]"), "not nested"),
    "mixed levels": (PLAIN.replace(b"[9, 9]", b"[[9, 9]]"), "not nested"),
    "no coordinates": (PLAIN.replace(b'"coordinates"', b'"coords"'), "no coordinates"),
    "brackets without end": (b"[" * 100_000, "without end"),
    "objects without end": (b'{"a":' * 100_000, "without end"),
    "brackets as coordinates": (PLAIN.replace(b"[[[", b"[" * 100_000), "without end"),
    "null geometry": (
        json.dumps(collection({"type": "Feature", "geometry": None, "properties": None})).encode(),
        "no poly",
    ),
    "numbers for features": (b'{"type": "FeatureCollection", "features": [1, null, "a", [[]]]}', "no polygon"),
    "a comma too many in a list": (b"[" + json.dumps(polygon(square(0, 0, 9, 9))).encode() + b" ,\n ]\n", None),
}
"""Name -> bytes of a GeoJSON file, and what the one line says that refuses it as a region; None: it is the square."""
