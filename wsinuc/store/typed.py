"""Whether JSON that was stored has the types that its readers count on.

Seals tell damage, not intent: whoever can write into a folder can seal what he likes. So values
from files are compared with the types of the fields before anything is counted or shown.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict, TypeVar

import msgspec

from wsinuc.errors import DataError
from wsinuc.typed_json import from_json

T = TypeVar("T")
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Figures(TypedDict, total=False):
    """What is shown of a finished slide, in its summary and in a cohort's."""

    nuclei: Count | None
    counts: dict[str, Count] | None
    tissue_mm2: float | None
    slide_mm2: float | None
    nuclei_per_mm2: float | None
    seconds: dict[str, float] | None
    seconds_per_mm2: float | None
    notes: list[str] | None
    resumed_blocks: Count | None
    at_edge: Count | None
    unreadable_share: float | None


class Facts(Figures, total=False):
    """What is read of ``summary.json`` beside that, to tell whether the result is what would come out now."""

    blocks: Count
    settings: dict[str, Any]
    config: dict[str, Any]
    slide_stamp: str
    slide_sha256: str | None
    weights_sha256: str | None


def typed(kind: type[T], content: object) -> T | None:
    """JSON values as ``kind``, a dataclass or a dictionary with types; None where they do not fit.

    Examples
    --------
    >>> typed(Figures, {"nuclei": 3, "notes": ["a"], "more": 1})
    {'nuclei': 3, 'notes': ['a']}
    >>> typed(Figures, {"nuclei": "3"}) is None
    True
    """
    try:
        return from_json(kind, content, error=DataError, subject="stored JSON")
    except DataError:
        return None
