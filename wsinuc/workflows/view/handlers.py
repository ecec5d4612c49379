"""What the page asks for: tiles, figures, pictures and labels, each drawn in a thread so that none waits for another.

Every answer is about one result, named by its key. What is refused is said as JSON with a status of its own; an error
that nobody expected says no more than its kind, and stands in the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from wsinuc.errors import ConfigError, DataError, OutputError, WsinucError
from wsinuc.grid import Box
from wsinuc.nuclei.classes import hex_color
from wsinuc.shown import shown
from wsinuc.workflows.view import facts
from wsinuc.workflows.view.library import Library
from wsinuc.workflows.view.opened import Opened
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.teach.doubtful import next_doubtful
from wsinuc.workflows.view.teach.teaching import Teaching
from wsinuc.workflows.view.tiles.map_choice import parse_map
from wsinuc.workflows.view.tiles.palette import class_colors
from wsinuc.workflows.view.tiles.slide import encode_png
from wsinuc.workflows.view.tiles.style import Style, parse_style

FILES = Path(__file__).parent / "files"
MEDIA = {".css": "text/css", ".js": "text/javascript"}
NOTHING_TILE = (encode_png(np.zeros((1, 1, 4), np.uint8)), "image/png")
"""A tile where there is none: the page asks for those around the slide, too."""
MOST_AT_ONCE = 20_000
"""Nuclei that one stroke of the mouse may label."""
LONGEST_BODY = 4 * 2**20
Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class Handler(RequestHandler):
    """One kind of answer."""

    library: Library
    pool: ThreadPoolExecutor

    def initialize(self, library: Library, pool: ThreadPoolExecutor) -> None:
        """What all handlers share."""
        self.library = library
        self.pool = pool

    def set_default_headers(self) -> None:
        """Nothing is kept by the browser but tiles, and no address with the token goes anywhere."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def threaded(self, work: Callable[[], Answer]) -> Answer:
        """The result of work that is done in a thread."""
        return await IOLoop.current().run_in_executor(self.pool, work)

    def answer(self, content: Any) -> None:
        """Send JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what went wrong, as JSON."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, WsinucError):
            self.set_status(404 if isinstance(error, ConfigError) else 422)
            self.answer({"error": str(error)})
            return
        self.answer({"error": f"unexpected {type(error).__name__}" if error else self._reason})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors that are meant for the page are no news for the log."""
        if not isinstance(value, WsinucError):
            _log.error("viewing %s failed", self.request.path.rpartition("/")[2], exc_info=(typ, value, tb))

    def number(self, name: str) -> float:
        """A number in the address. Raises ConfigError."""
        try:
            value = float(self.get_query_argument(name))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"the address needs a number for {name}")
        return value

    def query(self) -> dict[str, list[str]]:
        """What follows the question mark."""
        return {name: self.get_query_arguments(name) for name in self.request.query_arguments}

    def style(self, opened: Opened) -> Style:
        """How nuclei are shown. Raises ConfigError; takes a moment where two results have to be compared for it."""
        return self.compared(opened, parse_style(self.query()))

    def compared(self, opened: Opened, style: Style) -> Style:
        """A style once what it needs has been compared. Raises as `Library.compare`."""
        if style.other:
            self.library.compare(opened, style.other)
        return style

    def content(self) -> dict[str, Any]:
        """The JSON object that was sent. Raises DataError."""
        try:
            content = orjson.loads(self.request.body) if len(self.request.body) <= LONGEST_BODY else None
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise DataError("expected a JSON object")
        return content


class PageFile(Handler):
    """A file of the page itself."""

    async def get(self, name: str) -> None:
        """Names have no slash, by the pattern of the address."""
        path = FILES / name
        if path.suffix not in MEDIA or not path.is_file():
            raise ConfigError("there is no such file")
        self.set_header("Content-Type", f"{MEDIA[path.suffix]}; charset=utf-8")
        self.finish(path.read_bytes())


class TileHandler(Handler):
    """A tile of the slide, of the nuclei or of a map of them."""

    async def get(self, kind: str, key: str, zoom: str, x: str, y: str) -> None:
        """Where there is no tile, or it cannot be drawn, an empty one; the problem is noted for the page."""
        opened = self.library.open(key)
        style = parse_style(self.query())
        choice = parse_map(self.query())
        place = (int(zoom), int(x), int(y))

        def draw() -> tuple[bytes, str]:
            try:
                self.compared(opened, style)
                if kind == "slide":
                    return opened.slide_tile(*place)
                if kind == "nuclei":
                    return opened.nuclei_tile(*place, style)
                return NOTHING_TILE if choice is None else opened.map_tile(*place, choice, style)
            except ConfigError:
                return NOTHING_TILE
            except (WsinucError, OSError) as error:
                if opened.is_there(kind, place):
                    opened.note(str(error))
                return NOTHING_TILE

        content, media = await self.threaded(draw)
        self.set_header("Content-Type", media)
        # The page asks with another version after an edit.
        self.set_header("Cache-Control", "private, max-age=600")
        self.finish(content)


class FactsHandler(Handler):
    """Figures of a result, of a nucleus, of what is in sight; one method each, by its name in the address."""

    async def get(self, what: str, key: str) -> None:
        """Answer as JSON."""
        opened = self.library.open(key)
        work = getattr(self, f"_{what}")
        self.answer(await self.threaded(lambda: work(opened)))

    def _facts(self, opened: Opened) -> Any:
        others = [{"key": key, "name": shown(each.name)} for key, each in self.library.others(opened.source).items()]
        return facts.slide_facts(opened) | _labels(opened) | {"others": others}

    def _problems(self, opened: Opened) -> Any:
        return {"problems": [shown(each) for each in opened.all_problems()], "unfinished": opened.is_unfinished}

    def _legend(self, opened: Opened) -> Any:
        return facts.legend(opened, parse_style(self.query()).by)

    def _compare(self, opened: Opened) -> Any:
        compared = self.library.compare(opened, self.get_query_argument("with", ""))
        names = compared.there.class_names
        classes = [
            {"name": shown(name), "color": hex_color(color)}
            for name, color in zip(names, class_colors(len(names)), strict=True)
        ]
        return compared.report(needed(opened).class_names) | {"classes": classes}

    def _map(self, opened: Opened) -> Any:
        choice = parse_map(self.query())
        if choice is None:
            raise ConfigError("the address needs the name of a map")
        return facts.map_facts(opened, choice, self.style(opened))

    def _areas(self, opened: Opened) -> Any:
        return facts.area_facts(opened)

    def _at(self, opened: Opened) -> Any:
        row = facts.nucleus_at(needed(opened), self.number("y"), self.number("x"))
        return None if row is None else self._about(opened, row)

    def _nucleus(self, opened: Opened) -> Any:
        row = needed(opened).row_of(int(self.number("id")))
        return None if row is None else self._about(opened, row)

    def _about(self, opened: Opened, row: int) -> Any:
        return facts.nucleus_facts(opened, needed(opened), row) | {"label": _label_of(opened, row)}

    def _histogram(self, opened: Opened) -> Any:
        box = (self.number("y0"), self.number("x0"), self.number("y1"), self.number("x1"))
        column = self.get_query_argument("column", "area_um2")
        return facts.histogram(opened, self.style(opened), column, box)

    def _doubtful(self, opened: Opened) -> Any:
        row = next_doubtful(opened, self.style(opened))
        return None if row is None else self._about(opened, row)

    def _regions(self, opened: Opened) -> Any:
        return opened.regions

    def _labels(self, opened: Opened) -> Any:
        return _labels(opened)

    def _windows(self, opened: Opened) -> Any:
        # Takes shapely's polygons, which the first answers do without.
        from wsinuc.workflows.view.edit.facts import windows_facts

        return windows_facts(teaching(opened))


class PictureHandler(Handler):
    """Pictures that are no tiles."""

    async def get(self, what: str, key: str) -> None:
        """Answer as PNG."""
        opened = self.library.open(key)
        work = getattr(self, f"_{what}")
        content: bytes = await self.threaded(lambda: work(opened))
        self.set_header("Content-Type", "image/png")
        if what == "picture":
            self.set_header("Content-Disposition", "attachment")
        self.finish(content)

    def _crop(self, opened: Opened) -> bytes:
        table = needed(opened)
        row = table.row_of(int(self.number("id")))
        if row is None:
            raise ConfigError("there is no such nucleus")
        return encode_png(facts.crop(opened, table, row))

    def _overview(self, opened: Opened) -> bytes:
        zoom = min(opened.pyramid.finest, 1)
        down = opened.pyramid.downsample(zoom)
        return encode_png(opened.slide_pixels(opened.pyramid.extent(zoom), down))

    def _leftout(self, opened: Opened) -> bytes:
        return encode_png(opened.searched.left_out)

    def _tissue(self, opened: Opened) -> bytes:
        return encode_png(opened.searched.tissue)

    def _picture(self, opened: Opened) -> bytes:
        # Loads a compiler, which the first page does without.
        from wsinuc.workflows.view.picture import PictureLayers, field_picture

        down = self.number("down")
        if down <= 0:
            raise ConfigError("the address needs a number above 0 for down")
        size = (int(self.number("h")), int(self.number("w")))
        corner = (round(self.number("y0") / down), round(self.number("x0") / down))
        box = Box(corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])
        layers = PictureLayers(
            nuclei=self._opacity("nuclei"), map_opacity=self._opacity("ma"), choice=parse_map(self.query())
        )
        return encode_png(field_picture(opened, box, down, self.style(opened), layers))

    def _opacity(self, name: str) -> float:
        return min(1.0, max(0.0, self.number(name))) if self.get_query_argument(name, "") else 1.0


class LabelHandler(Handler):
    """Labels that are given and taken back; the only handler that writes."""

    async def post(self, what: str, key: str) -> None:
        """Answer with how many labels of each class there are now."""
        opened = self.library.open(key)
        content = self.content()
        work = {"label": self._label, "undo": self._undo, "learn": self._learn}[what]
        self.answer(await self.threaded(lambda: work(opened, content)))

    def _label(self, opened: Opened, content: dict[str, Any]) -> Any:
        table = needed(opened)
        rows = _rows(table, content)
        if len(rows) > MOST_AT_ONCE:
            raise DataError(f"{len(rows):,} nuclei at once are more than {MOST_AT_ONCE:,}: draw a smaller line")
        name = content.get("class")
        if name is not None and not isinstance(name, str):
            raise DataError("a class needs a name")
        if rows:
            teaching(opened).give(rows, name)
        # Which one it was, so that the page can say it of the nucleus that is selected.
        only = int(table.ids[rows[0]]) if len(rows) == 1 else None
        return {"changed": len(rows), "id": only} | _labels(opened)

    def _undo(self, opened: Opened, content: dict[str, Any]) -> Any:
        # Labels and training windows alike, whichever came last.
        return {"changed": teaching(opened).labels.take_back()} | _labels(opened)

    def _learn(self, opened: Opened, content: dict[str, Any]) -> Any:
        return teaching(opened).learn()


def needed(opened: Opened) -> NucleiTable:
    """The table. Raises OutputError where there is none."""
    table = opened.table
    if table is None:
        raise OutputError("there are no nuclei to show")
    return table


def teaching(opened: Opened) -> Teaching:
    """The labels. Raises OutputError where nuclei cannot be labelled."""
    if opened.teaching is None:
        raise OutputError("the nuclei of this result cannot be labelled")
    return opened.teaching


def _labels(opened: Opened) -> dict[str, Any]:
    """The labels for the page; none where they cannot be read, which is noted."""
    try:
        if opened.teaching is not None:
            return {"labels": opened.teaching.counts(), "outlines": opened.teaching.outlines()}
    except (WsinucError, OSError) as error:
        opened.note(f"The labels cannot be shown: {error}")
    return {"labels": [], "outlines": {"xs": [], "ys": [], "colors": []}}


def _label_of(opened: Opened, row: int) -> str | None:
    try:
        return None if opened.teaching is None else opened.teaching.labelled().get(row)
    except (WsinucError, OSError) as error:
        opened.note(f"The labels cannot be shown: {error}")
        return None


def _rows(table: NucleiTable, content: dict[str, Any]) -> list[int]:
    """The nuclei that an edit is about: by id, at a point, or within a line that was drawn."""
    try:
        if "polygon" in content:
            polygon = np.asarray(content["polygon"], np.float64).reshape(-1, 2)[:, ::-1]
            if len(polygon) < 3 or not np.isfinite(polygon).all():
                raise ValueError
            return [int(row) for row in facts.nuclei_within(table, polygon)]
        if "at" in content:
            x, y = (float(each) for each in content["at"])
            rows = [facts.nucleus_at(table, y, x)]
        else:
            rows = [table.row_of(int(each)) for each in content["ids"]]
    except (LookupError, TypeError, ValueError, OverflowError):
        raise DataError("expected the ids of nuclei, or the corners of a line around them") from None
    return [row for row in rows if row is not None]
