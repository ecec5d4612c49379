"""Whether a complete result is what would come out now, found out without doing the work.

First what was asked for is compared, and the slide by the hash of its ends: milliseconds. Only where that differs, or
cannot tell, is the slide opened and everything the bytes depend on compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.segmenters.base import Segmenter
from wsinuc.store.ledger import changes
from wsinuc.urls import Place
from wsinuc.workflows.segment.plan import fingerprint, plan_segment

_ASKED = ("mpp", "reader", "tissue", "block", "batch_size", "device")


def differences(
    made: Mapping[str, Any], slide: Place, out: Place, config: SegmentConfig, segmenter: Segmenter
) -> tuple[str, ...]:
    """In what a complete result differs from what ``config`` asks for; empty when it is the same.

    Parameters
    ----------
    made
        The result's ``summary.json``.
    out
        The result's directory or URL.

    Raises
    ------
    WsinucError
        The slide has to be opened, and cannot be.
    """
    if _asked_the_same(made, slide, config, segmenter):
        return ()
    now = plan_segment(slide, out, config, segmenter).settings
    return changes(made.get("settings", {}), now)


def _asked_the_same(made: Mapping[str, Any], slide: Place, config: SegmentConfig, segmenter: Segmenter) -> bool:
    settings, asked = made.get("settings", {}), made.get("config", {})
    if config.tissue not in ("auto", "none"):
        return False  # a mask's content is known only when it is loaded
    weights = getattr(segmenter, "weights_sha256", None)
    model = (made.get("weights_sha256"), weights) if weights else (settings.get("segmenter"), segmenter.identity)
    try:
        files: list[tuple[Any, str | None]] = [(settings.get("slide"), fingerprint(slide))]
        files.append((settings.get("roi"), fingerprint(config.roi) if config.roi else None))
    except OSError:
        return False  # opening it says what is wrong
    wishes = [(asked.get(name), getattr(config, name)) for name in _ASKED]
    return all(a == b for a, b in [(settings.get("wsinuc"), wsinuc.__version__), model, *files, *wishes])
