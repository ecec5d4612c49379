"""The slide's files as a run finds them, and whether they are still the same when it ends.

Blocks of a slide that is replaced, or whose copy is completed, while it is worked on would be of
two slides. So what the file system says of the files is noted in the beginning, and where it says
something else in the end their content is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import SlideError
from wsinuc.slides.identity.fingerprint import fingerprint, hole_share, sha256_of, stamp
from wsinuc.store import ResultStore
from wsinuc.store.ledger import read_sealed, write_sealed
from wsinuc.urls import Place

_FILE = "input.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideInput:
    """The slide's files when the run began."""

    stamp: str
    """What the file system says of them; empty when it says nothing."""
    sha256: str | None
    """SHA-256 of all that they hold; None unless it was asked for."""
    holes: float
    """Share of their bytes that were never written, 0 to 1."""


def look_at_input(slide: Place, store: ResultStore, run_id: str, *, verify: bool) -> SlideInput:
    """Note what the slide is now; with ``verify`` read all of it and compare it with what the run began with.

    Raises
    ------
    SlideError
        The slide is gone, or its content is not what it was when the interrupted run began.
    RemoteError
        Its URL is out of reach.
    """
    try:
        # The stamp first: what is written while the rest is read then shows as a change in the end.
        file_stamp = stamp(slide)
        sha256 = None
        if verify:
            sha256 = _verified(slide, store.work / _FILE, run_id)
        return SlideInput(stamp=file_stamp, sha256=sha256, holes=hole_share(slide))
    except FileNotFoundError as error:
        raise SlideError(
            f"{slide} was removed while it was read: put it back and run the same command again"
        ) from error


def is_unchanged(slide: Place, start: SlideInput, content: str) -> bool:
    """Whether the slide is the one that ``start`` and its fingerprint ``content`` describe."""
    try:
        if start.stamp and stamp(slide) == start.stamp:
            return True
        return fingerprint(slide) == content
    except FileNotFoundError:
        # Gone, not replaced: what was read of it stays right.
        return True


def _verified(slide: Place, path: Path, run_id: str) -> str:
    """SHA-256 of the slide, the same as the one in ``path``, where it is kept."""
    recorded = read_sealed(path, run_id).get("sha256")
    sha256 = sha256_of(slide)
    if recorded is None:
        write_sealed({"sha256": sha256}, path, run_id)
    elif recorded != sha256:
        raise SlideError(
            f"{slide} is not the file that the interrupted run began with (SHA-256 {sha256[:12]}..., then "
            f"{recorded[:12]}...): put that file back, or add --overwrite to begin anew"
        )
    return sha256
