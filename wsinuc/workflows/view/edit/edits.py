"""What each edit of training windows makes of the content of their file: features that go, and features that come.

Windows do not overlap, and an outline that is drawn keeps clear of its neighbours, so that what is seen is what a
training gets, whichever of two outlines it would have given a pixel to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from wsinuc.errors import DataError
from wsinuc.workflows.view.edit import shapes
from wsinuc.workflows.view.edit.content import (
    Content,
    Drawn,
    ignored_feature,
    outline_feature,
    renamed,
    window_feature,
)
from wsinuc.workflows.view.teach.feature_file import Changes, Feature, properties_of


def add_window(content: Content, area: shapely.Polygon, name: str, nuclei: dict[str, Feature]) -> Changes:
    """A window with its nuclei, but for those that meet another one, where they were looked at, perhaps deleted.

    Raises
    ------
    DataError
        It would overlap another window.
    """
    for window in content.windows:
        if shapely.area(shapely.intersection(window.shape, area)) > 0:
            raise DataError(f"this window would overlap {window.name or 'one without a name'}: draw it beside")
    polygons = [shapely.Polygon(each["geometry"]["coordinates"][0]) for each in nuclei.values()]
    known = shapely.union_all([window.shape for window in content.windows])
    meets = shapely.intersects(known, np.array(polygons, np.object_)).tolist()
    new = {uuid: feature for (uuid, feature), is_known in zip(nuclei.items(), meets, strict=True) if not is_known}
    feature = window_feature(area, name or content.free_name())
    return {feature["id"]: feature, **new}


def remove_window(content: Content, window: str) -> Changes:
    """A window goes, with what meets no other of outlines and ignored areas. Raises DataError where it is not there."""
    area = _known([window], content.windows)[0].shape
    ignored = [each for each in content.ignored if shapely.intersects(each.shape, area)]
    inside = [each for each in (*content.outlines_in(area), *ignored) if len(content.windows_at(each.shape)) == 1]
    return dict.fromkeys([window, *(each.id for each in inside)])


def rename_window(content: Content, window: str, name: str) -> Changes:
    """A window under another name. Raises DataError where it is not there."""
    return _by_id([renamed(_known([window], content.windows)[0], name)])


def add_ignored(content: Content, area: shapely.Polygon) -> Changes:
    """An area of which nothing counts. Raises DataError where it lies in no window."""
    if not content.windows_at(area):
        raise DataError("this area lies in no training window, so nothing of it counts anyhow: draw it in one")
    return _by_id([ignored_feature(area)])


def remove_ignored(content: Content, area: str) -> Changes:
    """An area counts again. Raises DataError where it is not there."""
    return dict.fromkeys(each.id for each in _known([area], content.ignored))


def split_outlines(content: Content, stroke: shapely.LineString) -> Changes:
    """Pieces in place of the outlines that a line crosses from side to side. Raises DataError where it crosses none."""
    changes: dict[str, Feature | None] = {}
    for outline in content.outlines_in(stroke):
        if outline.shape.geom_type != "Polygon":
            continue
        parts = shapes.pieces(outline.shape, stroke)
        if len(parts) > 1:
            changes[outline.id] = None
            changes |= _by_id([outline_feature(part, _classification(outline)) for part in parts])
    if not changes:
        raise DataError("this line cuts no outline in two: draw it from one side of a nucleus to the other")
    return changes


def merge_outlines(content: Content, ids: Sequence[str], reach: float) -> Changes:
    """One outline in place of several that touch, of the class of the largest.

    Parameters
    ----------
    reach
        Half of the widest gap, in pixels, that still counts as touching.

    Raises
    ------
    DataError
        They do not touch, are fewer than two, or one is not there.
    """
    chosen = _known(ids, content.outlines)
    if len(chosen) < 2:
        raise DataError("select the outlines that are one nucleus, two at the least: click them with Shift")
    whole = shapes.joined([each.shape for each in chosen], reach)
    if whole is None:
        raise DataError("these outlines do not touch: draw a new one around them instead")
    largest = max(chosen, key=lambda each: each.shape.area)
    return dict.fromkeys(each.id for each in chosen) | _by_id([outline_feature(whole, _classification(largest))])


def delete_outlines(content: Content, ids: Sequence[str]) -> Changes:
    """Outlines go. Raises DataError where one is not there."""
    return dict.fromkeys(each.id for each in _known(ids, content.outlines))


def draw_outline(content: Content, drawn: shapely.Polygon, classification: dict[str, Any] | None) -> Changes:
    """A new outline in place of those of which it covers more than half; at the edges of others it ends.

    Raises
    ------
    DataError
        It lies in no window, or others leave no room for it.
    """
    if not content.windows_at(drawn):
        raise DataError("this outline lies in no training window: draw a window around it first")
    near = content.outlines_in(drawn)
    polygons = np.array([each.shape for each in near], np.object_)
    gone = shapes.covered_by(drawn, polygons)
    free = shapes.without(drawn, polygons[~gone])
    if free is None:
        raise DataError("there is a nucleus here already: delete it first, or draw around it")
    replaced = [each.id for each, is_gone in zip(near, gone.tolist(), strict=True) if is_gone]
    return dict.fromkeys(replaced) | _by_id([outline_feature(free, classification)])


def name_outlines(content: Content, ids: Sequence[str], classification: dict[str, Any]) -> Changes:
    """Outlines with another class. Raises DataError where one is not there."""
    chosen = [each.feature for each in _known(ids, content.outlines)]
    return _by_id([each | {"properties": properties_of(each) | {"classification": classification}} for each in chosen])


def _known(ids: Sequence[str], drawn: Sequence[Drawn]) -> list[Drawn]:
    """Windows or outlines by their ids. Raises DataError where one is not there."""
    by_id = {each.id: each for each in drawn}
    if not ids or any(each not in by_id for each in ids):
        raise DataError("what was meant is no longer there: it was changed in another window or program")
    return [by_id[each] for each in dict.fromkeys(ids)]


def _by_id(features: Sequence[Feature]) -> dict[str, Feature | None]:
    return {feature["id"]: feature for feature in features}


def _classification(outline: Drawn) -> dict[str, Any] | None:
    """The class of an outline as its feature has it; None without one."""
    return outline.feature["properties"]["classification"] if outline.class_name else None
