"""What is wrong with how damaged bytes were read, if anything."""

from __future__ import annotations

import io
import resource
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from wsinuc.errors import WsinucError
from wsinuc.shown import shown

LONGEST_S = 5.0
"""CPU seconds."""
MEMORY = 512 * 2**20
"""Bytes that one call may add to the largest size that the process has had."""
LETTERS = 600


class Stuck(BaseException):
    """A call does not end."""


def judge(read: Callable[[bytes], object], data: bytes) -> tuple[str, str, float]:
    """What is wrong (empty: nothing), whether the bytes were read or refused, and the CPU seconds it took."""
    before = _peak()
    began = time.process_time()
    finding = ""
    outcome = "read"
    try:
        with redirect_stdout(io.StringIO()):
            read(data)
    except WsinucError as error:
        outcome = "refused"
        finding = wrong_message(str(error))
    except Stuck:
        finding = "does not end"
    except Exception as error:
        finding = _described(error)
    took = time.process_time() - began
    if not finding and took > LONGEST_S:
        finding = f"takes too long: {took:.1f} s"
    if not finding and _peak() - before > MEMORY:
        finding = f"takes too much memory: {(_peak() - before) >> 20} MiB"
    return finding, outcome, took


def by_all(*readers: Callable[[], object]) -> None:
    """Call all of them; the bytes count as refused when none takes them, but every message is looked at."""
    refusals = []
    for reader in readers:
        try:
            reader()
        except WsinucError as error:
            refusals.append(error)
    for error in refusals:
        if len(refusals) == len(readers) or wrong_message(str(error)):
            raise error


def wrong_message(text: str) -> str:
    """What is wrong with a message; empty when nothing is."""
    if shown(text) != text:
        return f"a message with line breaks or control characters: {text[:300]!r}"
    if len(text) >= LETTERS:
        return f"a message of more than {LETTERS} letters: {text[:120]}"
    return ""


def _described(error: Exception) -> str:
    """Kind of an error and where it came up, in our code and beneath."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/wsinuc/" in frame.filename]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*ours[-1:], frames[-1])]
    return f"{type(error).__name__} at {', '.join(places)}: {str(error)[:200]}"


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
