"""What the tests of a page in a browser share."""

from __future__ import annotations

from typing import Any

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
