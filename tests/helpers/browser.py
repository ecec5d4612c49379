"""What the tests of a page in a browser share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wsinuc.workflows.view.table import NucleiTable

WAIT_MS = 60_000
"""For whatever the page has to do; busy machines take their time."""


def watch(page: Any) -> list[str]:
    """Everything that the browser complains of from now on."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    return errors


def ready(page: Any) -> None:
    """Wait until the page has opened and its tiles have come."""
    page.wait_for_selector("body[data-ready]")
    page.wait_for_function("() => wsinucView.tilesAreThere()")


def to_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where on the page a point of the slide is shown."""
    place: list[float] = page.evaluate("([x, y]) => wsinucView.toScreen(x, y)", [x, y])
    return place[0], place[1]


def go(page: Any, x: float, y: float, down: float) -> None:
    """Move to a place of the slide, and wait for its tiles."""
    page.evaluate("([x, y, down]) => wsinucView.go({ x, y, down })", [x, y, down])
    page.wait_for_function("() => wsinucView.tilesAreThere()")


def label_every_twelfth(page: Any, table: NucleiTable, names: Mapping[int, str]) -> None:
    """Give every twelfth nucleus of a class of the result the name of a class to learn, and open the page again."""
    key = page.evaluate("() => wsinucView.key")
    for kind, name in names.items():
        ids = table.ids[np.flatnonzero(table.classes == kind)[::12]].tolist()
        page.evaluate(
            "([key, ids, name]) => fetch(`label/${key}`, {method: 'POST', body: JSON.stringify({ids, class: name})})",
            [key, ids, name],
        )
    page.reload()
    ready(page)
