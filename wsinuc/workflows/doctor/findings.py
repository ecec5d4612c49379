"""What ``wsinuc doctor`` says: findings, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LEVELS = ("ok", "warn", "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line."""

    name: str
    level: str
    """ok; warn: it works, but badly or not for all slides; fail: it does not work."""
    text: str
    advice: str = ""
    """What to do; empty when all is well."""


Check = Callable[[], Finding | Iterable[Finding]]


def ok(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name=name, level="ok", text=text)


def warn(name: str, text: str, advice: str) -> Finding:
    """It works, but."""
    return Finding(name=name, level="warn", text=text, advice=advice)


def fail(name: str, text: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(name=name, level="fail", text=text, advice=advice)
