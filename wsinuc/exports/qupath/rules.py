"""What QuPath 0.5.1, 0.6.0 and 0.7.0 do with one GeoJSON feature.

Every rule here was observed: the readers of the three versions were run on small files, one per rule
(``tests/qupath_cases``). A rule yields an ``Issue``: QuPath *rejects* the whole file, silently *loses* something, or
reads something *odd* that the author hardly meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wsinuc.exports.qupath.geometry import ALL_VERSIONS, Issue, geometry_issues

OBJECT_TYPES = frozenset({"detection", "cell", "annotation", "tile", "tmaCore", "root"})
FLOAT32_EXACT = 2**24
"""Measurements are stored as float32; larger whole numbers change."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(nan|inf|infinity|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*", re.IGNORECASE)
_OLD_TYPES = {"PathDetectionObject": "detection", "PathCellObject": "cell", "PathTileObject": "tile"}
"""Up to version 0.2 QuPath kept the type of an object in its id."""


@dataclass(frozen=True, slots=True)
class Feature:
    """What QuPath makes of one feature."""

    object_type: str
    """detection, cell, annotation, tile, tmaCore or root."""
    class_name: str | None
    """As QuPath shows it, levels joined by ": "."""
    color: tuple[Any, ...] | None
    """Colour that the file gives to the class."""
    issues: tuple[Issue, ...]


def rejected(reason: str) -> Issue:
    """An issue for which every version refuses the whole file."""
    return Issue("rejected", reason, ALL_VERSIONS)


def odd(reason: str) -> Issue:
    """An issue that QuPath passes over in silence."""
    return Issue("odd", reason)


def read_feature(feature: Any, *, plain_polygon: bool = False) -> Feature:
    """One element of ``features`` through the eyes of QuPath; never raises.

    Parameters
    ----------
    plain_polygon
        Its geometry is known to have no issues (`wsinuc.exports.qupath.plain`).
    """
    if not isinstance(feature, dict):
        return Feature("annotation", None, None, (rejected("an entry of features is no JSON object"),))
    issues = list(_id_issues(feature))
    if not plain_polygon:
        issues += geometry_issues(feature.get("geometry"), "geometry" in feature)
    properties = feature.get("properties", {})
    if not isinstance(properties, dict):
        return Feature(
            "annotation", None, None, (*issues, rejected("properties is no JSON object: leave it out or use {}"))
        )
    object_type, type_issues = _object_type(feature, properties)
    class_name, color, class_issues = _classification(properties.get("classification"))
    issues += [*type_issues, *class_issues, *_name_and_color_issues(properties)]
    issues += _measurement_issues(properties.get("measurements", {}))
    issues += [*_nucleus_issues(feature, properties, object_type), *_child_issues(properties)]
    return Feature(object_type, class_name, color, tuple(issues))


def _id_issues(feature: dict[str, Any]) -> Iterator[Issue]:
    if "id" not in feature:
        return
    value = feature["id"]
    if value is None or isinstance(value, (dict, list)):
        yield rejected("id is null or no text: use a UUID, or leave it out")
    elif not isinstance(value, str) or not (_UUID.fullmatch(value) or value in _OLD_TYPES):
        yield odd("id is no UUID with dashes: QuPath gives the object a new random id at every import")


def _object_type(feature: dict[str, Any], properties: dict[str, Any]) -> tuple[str, list[Issue]]:
    key = next((k for k in ("objectType", "object_type", "type") if k in properties), None)
    if key is None:
        old = _OLD_TYPES.get(str(feature.get("id")))
        if old:
            return old, []
        return "annotation", [
            odd("objectType is missing in properties: imported as an annotation, which is slow in thousands")
        ]
    value = properties[key]
    if value is None:
        return "annotation", [rejected(f"{key} is null")]
    if isinstance(value, (dict, list)):
        return "annotation", [rejected(f"{key} is no text")]
    if value not in OBJECT_TYPES:
        return "annotation", [
            odd(f"{key} {_short(value)} is unknown to QuPath: imported as an annotation (use detection)")
        ]
    issues = []
    if key != "objectType":
        issues.append(odd(f"the object type stands under {key}: the name is objectType"))
    if value == "tmaCore":
        issues.append(odd("tmaCore objects are skipped on import"))
    return value, issues


def _classification(value: Any) -> tuple[str | None, tuple[Any, ...] | None, list[Issue]]:
    """Name as shown, colour as given, and issues of ``properties.classification``."""
    if value is None or value == {}:
        return None, None, []
    if isinstance(value, str):
        issues = _class_name_issues(value)
        if value.startswith("{"):
            issues = [odd("classification is JSON inside a text: it becomes the class name")]
        return value.strip() or None, None, issues
    if not isinstance(value, dict):
        return None, None, [rejected("classification is neither text nor an object with name and color")]
    # An older form of QuPath's, which all versions here read.
    if "colorRGB" in value or "parentClass" in value:
        return str(value.get("name")), None, []
    if "color" not in value or not ("name" in value or "names" in value):
        return None, None, [rejected("classification needs both name and color, as [r, g, b] of 0 to 255")]
    if "names" in value:
        names = value["names"]
    else:
        names = [value["name"]]
    if not isinstance(names, list) or not all(isinstance(n, (str, int, float)) for n in names):
        return None, None, [rejected("the name of a class is no text")]
    issues = [issue for name in names for issue in _class_name_issues(str(name))]
    if "names" in value and any(":" in str(name) for name in names):
        issues = [rejected("a class name in names holds a colon")]
    color = value["color"]
    issues += _class_color_issues(color)
    name = ": ".join(str(part).strip() for part in names)
    return name, tuple(color) if isinstance(color, list) else None, issues


def _class_name_issues(name: str) -> list[Issue]:
    if not name.strip():
        return [rejected("a class has an empty name")]
    if len(name.splitlines()) > 1:
        return [rejected("a class name holds a line break")]
    if ":" in name:
        return [odd("a colon in a class name makes two levels of classes of it")]
    if name != name.strip():
        return [odd("spaces around a class name are cut off")]
    return []


def _class_color_issues(color: Any) -> list[Issue]:
    if color is None:
        return []
    if not isinstance(color, list):
        return [rejected("the color of a class must be a list [r, g, b], not a text or a number")]
    if len(color) not in (0, 1, 3, 4):
        return [rejected(f"the color of a class has {len(color)} values: it must be [r, g, b] or [r, g, b, alpha]")]
    if not all(_is_number(c) for c in color):
        return [rejected("the color of a class holds something that is no number")]
    if any(c != int(c) or not 0 <= c <= 255 for c in color):
        return [odd("the color of a class must be whole numbers of 0 to 255: fractions are cut, larger values wrap")]
    return []


def _name_and_color_issues(properties: dict[str, Any]) -> Iterator[Issue]:
    if "name" in properties and (properties["name"] is None or isinstance(properties["name"], (dict, list))):
        yield rejected("name is null or no text: leave it out")
    color = properties.get("color")
    if isinstance(color, bool) or (isinstance(color, str) and not re.fullmatch(r"[+-]?\d+", color)):
        yield rejected("color must be a list [r, g, b], not a text such as #ff0000")
    if isinstance(color, list) and len(color) != 3:
        yield odd("color is ignored because it does not have three values")


def _measurement_issues(value: Any) -> Iterator[Issue]:
    if isinstance(value, dict):
        for item in value.values():
            if type(item) is not float:  # as nearly all are, with which nothing is wrong
                yield from _value_issues(item)
    elif isinstance(value, list):
        for entry in value:
            item = None
            if isinstance(entry, dict):
                item = entry.get("value")
            if item is None:
                yield rejected("measurements as a list need a name and a number as value in each entry")
            else:
                yield from _value_issues(item)
    else:
        yield odd("measurements is no object: ignored")


def _value_issues(value: Any) -> Iterator[Issue]:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            yield rejected("a measurement is a text: measurements are numbers")
    elif not _is_number(value):
        yield odd("a measurement is null, true, false or nested: dropped")
    elif isinstance(value, int) and abs(value) > FLOAT32_EXACT:
        yield odd(f"a measurement above {FLOAT32_EXACT} loses digits (float32)")


def _nucleus_issues(feature: dict[str, Any], properties: dict[str, Any], object_type: str) -> Iterator[Issue]:
    if "nucleusGeometry" in properties:
        yield odd("nucleusGeometry is ignored inside properties: it belongs beside geometry")
    if object_type == "cell" and "nucleusGeometry" in feature:
        yield from geometry_issues(feature["nucleusGeometry"], True)


def _child_issues(properties: dict[str, Any]) -> Iterator[Issue]:
    children = properties.get("childObjects", properties.get("children"))
    for child in children if isinstance(children, list) else ():
        yield from read_feature(child).issues


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    if len(text) <= 40:
        return text
    return text[:37] + "..."
