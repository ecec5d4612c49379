"""What the page asks of training windows: an edit each, by its name in the address."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.workflows.view.edit.facts import windows_facts
from wsinuc.workflows.view.handlers import Handler, teaching
from wsinuc.workflows.view.opened import Opened
from wsinuc.workflows.view.teach.teaching import Teaching

MOST_CORNERS = 20_000
"""Of a line that was drawn by hand."""
MOST_IDS = 20_000


class WindowHandler(Handler):
    """Edits of windows and of the outlines in them; each is on the disk before the page hears of it."""

    async def post(self, what: str, key: str) -> None:
        """Answer with all windows as they are after the edit, and the ids of what is new."""
        opened = self.library.open(key)
        content = self.content()
        edit = getattr(self, f"_{what}")
        self.answer(await self.threaded(lambda: self._edited(opened, content, edit)))

    def _edited(self, opened: Opened, content: dict[str, Any], edit: Any) -> dict[str, Any]:
        taught = teaching(opened)
        new = edit(taught, content)
        return {"new": new} | windows_facts(taught)

    def _add(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        corners = _line(taught, content)
        if len(corners) < 2:
            raise DataError("expected the corners of a rectangle")
        area = shapely.box(*corners.min(axis=0), *corners.max(axis=0))
        taught.windows.add(area, _text(content, "name"))
        return []

    def _remove(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        taught.windows.remove(_text(content, "id"))
        return []

    def _rename(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        taught.windows.rename(_text(content, "id"), _text(content, "name"))
        return []

    def _ignore(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        taught.windows.ignore(_line(taught, content))
        return []

    def _count(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        taught.windows.count(_text(content, "id"))
        return []

    def _split(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        return taught.windows.split(_line(taught, content))

    def _merge(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        return taught.windows.merge(_ids(content))

    def _delete(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        taught.windows.delete(_ids(content))
        return []

    def _draw(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        # A result of one class needs no word about it.
        only = taught.table.class_names[0] if len(taught.table.class_names) == 1 else None
        classification = None if only is None else {"name": only, "color": list(taught.table.class_colors[0])}
        return taught.windows.draw(_line(taught, content), classification)

    def _name(self, taught: Teaching, content: dict[str, Any]) -> list[str]:
        ids = _ids(content)
        name = _text(content, "class")
        taught.windows.name(ids, name, taught.color_of(name))
        return ids


def _line(taught: Teaching, content: dict[str, Any]) -> NDArray[np.float64]:
    """Corners ``(n, 2)`` (x, y) of a line that was drawn, in pixels of the file. Raises DataError."""
    try:
        line = np.asarray(content["line"], np.float64).reshape(-1, 2)
    except (LookupError, TypeError, ValueError, OverflowError):
        line = np.full((1, 2), np.nan)
    if not 0 < len(line) <= MOST_CORNERS or not (np.abs(line) < 1e9).all():
        raise DataError(f"expected a line of 1 to {MOST_CORNERS:,} corners (x, y)")
    shifted: NDArray[np.float64] = line - np.asarray(taught.windows.origin_yx)[::-1]
    return shifted


def _ids(content: dict[str, Any]) -> list[str]:
    ids = content.get("ids")
    if not isinstance(ids, list) or len(ids) > MOST_IDS or not all(isinstance(each, str) for each in ids):
        raise DataError("expected the ids of outlines")
    return ids


def _text(content: dict[str, Any], name: str) -> str:
    text = content.get(name, "")
    if not isinstance(text, str):
        raise DataError(f"expected text for {name}")
    return text.strip()
