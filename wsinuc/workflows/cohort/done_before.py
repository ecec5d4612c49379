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

_OPTIONS = (
    "mpp",
    "reader",
    "tissue",
    "block",
    "batch_size",
    "device",
    "measure",
    "stains",
    "image",
    "cells",
    "outlines",
    "threshold",
    "min_area_um2",
)


def differences(
    summary: Mapping[str, Any], slide: Place, out: Place, config: SegmentConfig, segmenter: Segmenter
) -> tuple[str, ...]:
    """The differences between a complete result and what ``config`` asks for, in words; empty when there are none.

    Parameters
    ----------
    summary
        The result's ``summary.json``.
    out
        The result's directory or URL.

    Raises
    ------
    WsinucError
        The slide has to be opened, and cannot be.
    """
    if "slide_stamp" not in summary:
        return ("it was made by a version that wrote no checksums",)
    if _is_same_request(summary, slide, config, segmenter):
        if config.verify_input:
            return _content_differs(summary, slide)
        return ()
    now = plan_segment(slide, out, config, segmenter).settings
    return changes(summary.get("settings", {}), now)


def _is_same_request(summary: Mapping[str, Any], slide: Place, config: SegmentConfig, segmenter: Segmenter) -> bool:
    settings = summary.get("settings", {})
    request = summary.get("config", {})
    if config.tissue not in ("auto", "none"):
        return False  # a mask's content is known only when it is loaded
    weights = getattr(segmenter, "weights_sha256", None)
    # Pairs of what was and what is now.
    pairs: list[tuple[Any, Any]] = [(settings.get("wsinuc"), wsinuc.__version__)]
    if weights:
        pairs.append((summary.get("weights_sha256"), weights))
    else:
        pairs.append((settings.get("segmenter"), segmenter.identity))
    pairs += [(request.get(name), getattr(config, name)) for name in _OPTIONS]
    # Results of versions that knew no such image say nothing of it, and have none.
    pairs.append((request.get("semantic", False), config.semantic))
    try:
        pairs.append((settings.get("slide"), _slide_now(summary, slide)))
        pairs.append((settings.get("roi"), _region(config, slide)))
    except (OSError, WsinucError):
        return False  # opening it says what is wrong
    return all(before == now for before, now in pairs)


def _slide_now(summary: Mapping[str, Any], slide: Place) -> str:
    """The slide's fingerprint; the recorded one where nothing was written since."""
    recorded = summary["slide_stamp"]
    if recorded and recorded == stamp(slide):
        return str(summary.get("settings", {}).get("slide"))
    return fingerprint(slide)


def _content_differs(summary: Mapping[str, Any], slide: Place) -> tuple[str, ...]:
    recorded = summary.get("slide_sha256")
    if recorded is None:
        return ("it was made without --verify-input",)
    if recorded != sha256_of(slide):
        return ("the slide's content differs",)
    return ()


def _region(config: SegmentConfig, slide: Place) -> str | None:
    """The region that is asked for, which counts from the slide's bounds; raises what opening the slide raises."""
    if config.roi is None:
        return None
    with open_isolated(slide, reader=config.reader, mpp=config.mpp) as reader:
        return region_identity(config.roi, reader.origin)
