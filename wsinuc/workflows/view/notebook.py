"""The viewer in a cell of a notebook: the same server, in a thread of the notebook's own process."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.server import ViewServer, start_server


@dataclass(frozen=True, slots=True)
class NotebookView:
    """A viewer that runs until `stop`, or until the notebook's process ends; shown as a frame in a cell."""

    server: ViewServer
    height: int
    """Of the frame, in pixels."""

    @property
    def url(self) -> str:
        """Its address with the token, for a tab of its own; of the machine that the notebook's process runs on."""
        return self.server.url

    def stop(self) -> None:
        """End the server."""
        self.server.stop()

    def _repr_html_(self) -> str:
        # The address has letters, digits, - and _ only, and is escaped all the same.
        return (
            f'<iframe src="{html.escape(self.url)}" width="100%" height="{self.height}" '
            'style="border: 1px solid #ddd; border-radius: 6px" allow="clipboard-write"></iframe>'
        )


def view_in_notebook(result: Path, slide: Path | None = None, *, height: int = 640) -> NotebookView:
    """Start a viewer for a result, for this machine alone.

    Raises
    ------
    ConfigError
        Bokeh is not installed.
    OutputError
        There is no such result.
    """
    server = start_server(find_sources(result, slide=slide))
    server.run_in_background()
    return NotebookView(server, height)
