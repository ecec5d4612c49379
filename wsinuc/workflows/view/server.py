"""The viewer's server: Bokeh's own on a port of this machine, behind a token in the address.

Every address begins with the token (``/TOKEN/...``), and the router knows no other, so that nothing is served without
it: no page, no tile, no script of Bokeh's, no websocket. The token is new for each server and stands nowhere but in
the address that is printed.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter
from tornado.web import Application, RequestHandler

from wsinuc.errors import OutputError
from wsinuc.exports.extras import require
from wsinuc.workflows.view.first_view import read_first_view, read_table
from wsinuc.workflows.view.library import Library

LOOPBACK = "127.0.0.1"
THREADS = 4
"""Answers that are worked at at once."""
NAME = r"([A-Za-z0-9-]+)"
_FIGURES = "facts|problems|compare|legend|map|areas|at|nucleus|histogram|doubtful|regions|labels|windows"
_WINDOW_EDITS = "add|remove|rename|ignore|count|split|merge|delete|draw|name"
_LONGEST_BODY = 8 * 2**20


@dataclass
class ViewServer:
    """A server that listens; made by `start_server`."""

    url: str
    """Address of the first page, with the token."""
    port: int
    loop: IOLoop
    pool: ThreadPoolExecutor
    library: Library
    _server: Any

    def run(self) -> None:
        """Serve until the program is interrupted."""
        try:
            self.loop.start()
        finally:
            self.close()

    def run_in_background(self) -> None:
        """Serve from a thread that ends with the program."""
        threading.Thread(target=self.run, name="wsinuc-view", daemon=True).start()

    def stop(self) -> None:
        """End a server that runs in the background."""
        self.loop.add_callback(self.loop.stop)

    def close(self) -> None:
        """Let go of the port and the threads."""
        self._server.stop(wait=False)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.library.close()


def start_server(library: Library, *, host: str = LOOPBACK, port: int = 0, warm: bool = True) -> ViewServer:
    """A server for the results of a library; it answers once it is run.

    Parameters
    ----------
    host
        Address to listen at; the loopback address by default, which only this machine reaches.
    port
        0 takes a free one.
    warm
        Whether the first view is read in the background at once.

    Raises
    ------
    ConfigError
        Bokeh is not installed.
    OutputError
        The port is taken, or the address is none of this machine's.
    """
    require("bokeh.server", "view", "wsinuc view")
    sockets = _listen(host, port)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="wsinuc-view")
    first = None if library.is_folder or not warm else library.open(next(iter(library.sources)))
    if first is not None:
        # The table is read while Bokeh is loaded, which takes as long.
        pool.submit(read_table, first)
    from bokeh.server.server import BaseServer
    from bokeh.server.tornado import BokehTornado

    from wsinuc.workflows.view.page import build_page

    port = sockets[0].getsockname()[1]
    token = secrets.token_urlsafe(24)
    # A loop of its own, so that a notebook's is left alone.
    loop = IOLoop(asyncio_loop=asyncio.new_event_loop(), make_current=False)
    pages = BokehTornado(
        {"/view": partial(build_page, library=library)},
        prefix=token,
        extra_patterns=_patterns(library, pool),
        # Whoever has the token may look; pages of others do not have it.
        extra_websocket_origins=["*"] if host != LOOPBACK else _own_names(port),
        use_index=False,
    )
    http = HTTPServer(_behind(token, pages), max_buffer_size=_LONGEST_BODY)
    server = BaseServer(loop, pages, http)

    def begin() -> None:
        http.add_sockets(sockets)
        server.start()

    # Tornado and Bokeh take the loop that runs: here it may be a notebook's, in which two threads would then write.
    loop.add_callback(begin)
    if first is not None:
        pool.submit(read_first_view, first)
    shown_host = LOOPBACK if host in ("", "0.0.0.0", "::") else host
    return ViewServer(f"http://{shown_host}:{port}/{token}/", port, loop, pool, library, server)


class HasToken(Matcher):
    """Addresses that begin with the token."""

    def __init__(self, token: str) -> None:
        self.token = token.encode("ascii")

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Not None when it is there; how long that takes says nothing of the token."""
        first = request.path.partition("/")[2].partition("/")[0]
        if secrets.compare_digest(first.encode("utf-8", "replace"), self.token):
            return {}
        return None


class Refused(RequestHandler):
    """What is said without the token."""

    def prepare(self) -> None:
        """To every method alike."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("This page needs the whole address that wsinuc view has printed, with the token in it.\n")


def _behind(token: str, pages: Application) -> RuleRouter:
    refused = Application([(r".*", Refused)])
    return RuleRouter([Rule(HasToken(token), pages), Rule(AnyMatches(), refused)])


def _patterns(library: Library, pool: ThreadPoolExecutor) -> list[Any]:
    from wsinuc.workflows.view import handlers
    from wsinuc.workflows.view.cohort import CohortHandler
    from wsinuc.workflows.view.edit.handler import WindowHandler
    from wsinuc.workflows.view.teach.handler import ApplyHandler

    shared = {"library": library, "pool": pool}
    return [
        (r"/?", CohortHandler, shared),
        (r"/files/([a-z]+\.[a-z]+)", handlers.PageFile, shared),
        (rf"/tiles/(slide|nuclei|map)/{NAME}/(\d{{1,2}})/(\d{{1,7}})/(\d{{1,7}})", handlers.TileHandler, shared),
        (rf"/({_FIGURES})/{NAME}", handlers.FactsHandler, shared),
        (rf"/(crop|overview|picture|leftout|tissue)/{NAME}", handlers.PictureHandler, shared),
        (rf"/(label|undo|learn)/{NAME}", handlers.LabelHandler, shared),
        (rf"/apply/{NAME}", ApplyHandler, shared),
        (rf"/window-({_WINDOW_EDITS})/{NAME}", WindowHandler, shared),
    ]


def _own_names(port: int) -> list[str]:
    return [f"{name}:{port}" for name in (LOOPBACK, "localhost")]


def _listen(host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, host)
    except (OSError, OverflowError) as error:
        raise OutputError(
            f"cannot listen at {host}, port {port} ({getattr(error, 'strerror', None) or error}): choose another --port"
        ) from error
