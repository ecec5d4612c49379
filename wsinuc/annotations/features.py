"""GeoJSON features one by one, whatever they are wrapped in.

``raw_features`` gives them as they are in the file, as dictionaries whose ``coordinates`` are `Coordinates`; the check
for QuPath works on these. ``read_features`` makes `Feature` of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from wsinuc.annotations.coordinates import HEIGHTS, Coordinates, empty, read_coordinates
from wsinuc.annotations.events import MAX_DEPTH, Event, JsonError, TooMuch, json_events, made_plain, plain_errors
from wsinuc.annotations.files import Document, documents
from wsinuc.errors import DataError

MAX_VALUES = 200_000
"""Values that a feature may have beside its coordinates; Python objects take ten times the bytes of their text."""
GEOMETRIES = (*HEIGHTS, "GeometryCollection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One geometry that somebody drew, and what it stands for."""

    kind: str
    """Type of the geometry: Polygon, MultiPolygon, Point, MultiPoint, LineString or MultiLineString."""
    coordinates: Coordinates
    """(x, y) in pixels of the image that it was drawn on."""
    class_name: str | None = None
    """Name of the classification, levels joined by ": " as QuPath shows them."""
    name: str | None = None
    object_type: str | None = None
    """QuPath's: annotation, detection, cell, ..."""
    id: str | None = None
    color: tuple[int, int, int] | None = None
    """RGB of the classification, 0 to 255."""
    nucleus: Feature | None = None
    """Of a QuPath cell, whose own geometry is its border: the nucleus in it."""
    where: str = ""
    """File and feature, for messages."""

    @property
    def geometry(self) -> BaseGeometry:
        """As shapely has it, exactly as drawn: it may cross itself."""
        return self.coordinates.to_shapely(self.kind)


def read_features(path: str | Path, limit: int | None = None) -> Iterator[Feature]:
    """The features of a GeoJSON file or of all files in a zip; a GeometryCollection is one for each geometry in it.

    Features without geometry are passed over; so is what is no feature.

    Raises
    ------
    DataError
        The file is missing, damaged, too large or no GeoJSON, or a geometry's coordinates are no numbers; the message
        names the feature.
    """
    with documents(Path(path), limit) as members:
        for document in members:
            try:
                for number, item in enumerate(_tolerantly(document)):
                    yield from _features(item, f"{document.name}, feature {number}")
            except JsonError as error:
                raise DataError(
                    f"{document.name}: expected GeoJSON as QuPath exports it, cannot parse it ({error})"
                ) from None


def raw_features(events: Iterator[Event]) -> Iterator[Any]:
    """Members of the top level of a document: of a FeatureCollection, of a list, or the one thing that there is.

    What is no feature comes as it is; after the last, `Unrecognised` is raised when there was none that GeoJSON knows.
    """
    event, value = next(events)
    if event == "start_array":
        for event, value in events:
            if event == "end_array":
                break
            if event == "start_map":
                yield from _object(events, in_list=True)
            else:
                yield _value(event, value, events)
    elif event == "start_map":
        yield from _object(events, in_list=False)
    else:
        raise Unrecognised
    for _ in events:  # the parser refuses what follows the document
        pass


class Unrecognised(Exception):
    """The document holds no FeatureCollection, Feature or geometry."""


def _object(events: Iterator[Event], *, in_list: bool) -> Iterator[Any]:
    """A FeatureCollection's features, or a Feature or geometry as it is."""
    head: dict[str, Any] = {}
    is_collection = False
    values = _Budget()
    for event, key in events:
        if event == "end_map":
            break
        # A geometry without a feature around it has its coordinates at the top level.
        if key == "coordinates":
            head[key] = read_coordinates(events)
            continue
        event, value = next(events)
        if key == "features" and event == "start_array":
            is_collection = True
            yield from _members(events)
        else:
            head[key] = _value(event, value, events, values)
    kind = head.get("type")
    if is_collection and kind == "FeatureCollection":
        return
    if (in_list and not is_collection) or kind == "Feature":
        yield head
    elif kind in GEOMETRIES:
        yield {"type": "Feature", "geometry": head}
    else:
        raise Unrecognised


def _members(events: Iterator[Event]) -> Iterator[Any]:
    for event, value in events:
        if event == "end_array":
            return
        yield _value(event, value, events)


_NESTED = ("start_map", "start_array")


class _Budget:
    """How many values may still come."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooMuch(f"a feature holds more than {MAX_VALUES:,} values beside its coordinates")


def _value(event: str, value: Any, events: Iterator[Event], budget: _Budget | None = None, depth: int = 0) -> Any:
    """The value that begins with ``event``, as Python has it; raises JsonError when it is too much."""
    budget = budget or _Budget()
    budget.spend()
    if depth > MAX_DEPTH:
        raise TooMuch("brackets in brackets without end")
    if event == "start_array":
        items: list[Any] = []
        for event, value in events:
            if event == "end_array":
                return items
            items.append(_value(event, value, events, budget, depth + 1))
    if event == "start_map":
        members: dict[str, Any] = {}
        for event, key in events:
            if event == "end_map":
                return members
            if key == "coordinates":
                members[key] = read_coordinates(events)
                continue
            event, value = next(events)
            if event in _NESTED or depth == MAX_DEPTH:
                value = _value(event, value, events, budget, depth + 1)
            else:  # without a call for each of a feature's dozens of numbers and texts
                budget.spend()
            members[key] = value
    return value


def _tolerantly(document: Document) -> Iterator[Any]:
    """Features of a document; one with NaN or huge numbers or a comma too many is read again, made plain."""
    count = 0
    try:
        with closing(document.open()) as stream:
            for item in _known(stream):
                yield item
                count += 1
        return
    except TooMuch:
        raise
    except JsonError:
        with closing(document.open()) as stream:
            text = stream.read()
        plain = made_plain(text)
        if plain == text:  # it is broken for another reason
            raise
    # Two copies of the largest file would be too many while features are made.
    del text
    # Those before the flaw have been given already.
    yield from islice(_known(BytesIO(plain)), count, None)


def _known(stream: Any) -> Iterator[Any]:
    """Raw features; a document without any holds none."""
    with suppress(Unrecognised), plain_errors():
        yield from raw_features(json_events(stream))


def _features(item: Any, where: str) -> Iterator[Feature]:
    """The geometries of one member of a document, of nested collections too."""
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "FeatureCollection" and isinstance(item.get("features"), list):
        for member in item["features"]:
            yield from _features(member, where)
    elif isinstance(item, dict) and ("geometry" in item or kind == "Feature"):
        properties = item.get("properties")
        about = _about(item, properties if isinstance(properties, dict) else {})
        about["nucleus"] = _nucleus(item.get("nucleusGeometry"), about, where)
        yield from _geometries(item.get("geometry"), about, where)
        # QuPath nests detections in the annotation that holds them.
        for child in _children(properties):
            yield from _features(child, where)
    elif kind in GEOMETRIES:
        yield from _geometries(item, {}, where)


def _geometries(geometry: Any, about: dict[str, Any], where: str) -> Iterator[Feature]:
    if not isinstance(geometry, dict):
        return
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        for member in members if isinstance(members, list) else ():
            yield from _geometries(member, about, where)
    elif isinstance(kind, str) and kind in HEIGHTS:
        given = geometry.get("coordinates")
        if isinstance(given, Coordinates):
            coordinates = given
        else:
            coordinates = empty("it has no coordinates")
        flaw = coordinates.flaw_as(kind)
        if flaw is not None:
            raise DataError(f"{where}: expected GeoJSON as QuPath exports it, cannot parse the {kind} ({flaw})")
        yield Feature(kind=kind, coordinates=coordinates, where=where, **about)


def _nucleus(geometry: Any, about: dict[str, Any], where: str) -> Feature | None:
    """The nucleus of a cell; None where there is none, or none that can be read."""
    if not isinstance(geometry, dict):
        return None
    kind = geometry.get("type")
    coordinates = geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(coordinates, Coordinates):
        return None
    if coordinates.flaw_as(kind) is not None:
        return None
    return Feature(kind=kind, coordinates=coordinates, where=where, **about)


def _children(properties: Any) -> list[Any]:
    """What QuPath keeps inside an annotation."""
    if not isinstance(properties, dict):
        return []
    children = properties.get("childObjects", properties.get("children"))
    if isinstance(children, list):
        return children
    return []


def _about(item: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """What a feature says of itself; what is not text counts as absent."""
    identity = item.get("id")
    object_type = properties.get("objectType", properties.get("object_type"))
    name = properties.get("name")
    return {
        "class_name": class_name(properties.get("classification")),
        "name": name if isinstance(name, str) else None,
        "object_type": object_type if isinstance(object_type, str) else None,
        "id": identity if isinstance(identity, str) else None,
        "color": class_color(properties.get("classification")),
    }


def class_name(classification: Any) -> str | None:
    """The name of a class in any of the forms that QuPath reads; None without one."""
    if isinstance(classification, str):
        return classification.strip() or None
    if not isinstance(classification, dict):
        return None
    names = classification.get("names", [classification.get("name")])
    if not isinstance(names, list):
        return None
    return ": ".join(str(name).strip() for name in names if name is not None and str(name).strip()) or None


def class_color(classification: Any) -> tuple[int, int, int] | None:
    """RGB of a class in either of the forms that QuPath reads; None without one.

    Examples
    --------
    >>> class_color({"name": "Tumor", "color": [200, 0, 0]}), class_color({"name": "Tumor", "colorRGB": -3670016})
    ((200, 0, 0), (200, 0, 0))
    """
    if not isinstance(classification, dict):
        return None
    color = classification.get("color")
    if isinstance(color, list) and len(color) >= 3 and all(_is_level(level) for level in color[:3]):
        return int(color[0]), int(color[1]), int(color[2])
    packed = classification.get("colorRGB")
    if isinstance(packed, int | float) and float(packed).is_integer():
        # Alpha, red, green and blue in the four bytes of a signed integer.
        number = int(packed)
        return (number >> 16) & 255, (number >> 8) & 255, number & 255
    return None


def _is_level(value: Any) -> bool:
    return isinstance(value, int | float) and float(value).is_integer() and 0 <= value <= 255
