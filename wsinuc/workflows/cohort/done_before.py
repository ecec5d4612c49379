"""Whether a complete result is what would come out now, found out without doing the work.

First what was asked for is compared, and the slide: by what the file system says of it, and where
that differs by samples of its content. Only where these differ, or cannot tell, is the slide opened
and everything the bytes depend on compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.errors import WsinucError
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.identity.fingerprint import fingerprint, sha256_of, stamp
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.store.ledger import changes
from wsinuc.urls import Place
from wsinuc.workflows.segment.plan import plan_segment, region_identity

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
    if "slide_stamp" not in made:
        return ("it was made by a version that wrote no checksums",)
    if _asked_the_same(made, slide, config, segmenter):
        return _content_differs(made, slide) if config.verify_input else ()
    now = plan_segment(slide, out, config, segmenter).settings
    return changes(made.get("settings", {}), now)


def _asked_the_same(made: Mapping[str, Any], slide: Place, config: SegmentConfig, segmenter: Segmenter) -> bool:
    settings, asked = made.get("settings", {}), made.get("config", {})
    if config.tissue not in ("auto", "none"):
        return False  # a mask's content is known only when it is loaded
    weights = getattr(segmenter, "weights_sha256", None)
    model = (made.get("weights_sha256"), weights) if weights else (settings.get("segmenter"), segmenter.identity)
    try:
        files: list[tuple[Any, str | None]] = [(settings.get("slide"), _slide_now(made, slide))]
        files.append((settings.get("roi"), _region(config, slide)))
    except (OSError, WsinucError):
        return False  # opening it says what is wrong
    wishes = [(asked.get(name), getattr(config, name)) for name in _ASKED]
    return all(a == b for a, b in [(settings.get("wsinuc"), wsinuc.__version__), model, *files, *wishes])


def _slide_now(made: Mapping[str, Any], slide: Place) -> str:
    """The slide's fingerprint; the recorded one where nothing was written since."""
    recorded = made["slide_stamp"]
    if recorded and recorded == stamp(slide):
        return str(made.get("settings", {}).get("slide"))
    return fingerprint(slide)


def _content_differs(made: Mapping[str, Any], slide: Place) -> tuple[str, ...]:
    recorded = made.get("slide_sha256")
    if recorded is None:
        return ("it was made without --verify-input",)
    return () if recorded == sha256_of(slide) else ("the slide's content differs",)


def _region(config: SegmentConfig, slide: Place) -> str | None:
    """The region that is asked for, which counts from the slide's bounds; raises what opening the slide raises."""
    if config.roi is None:
        return None
    with open_isolated(slide, reader=config.reader, mpp=config.mpp) as opened:
        return region_identity(config.roi, opened.origin)
