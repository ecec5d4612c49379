"""Which images of a data set are meant, by their attributes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from wsinuc import arguments
from wsinuc.errors import DataError

_FORM = re.compile(r"([^<>=!]*)([<>=!]*)(.*)", re.DOTALL)

Conditions = Mapping[str, frozenset[str]]
"""Attribute -> the values that are meant."""

Wanted = Mapping[str, str | Collection[str]]
"""The same as callers write it: a single value stands for itself."""


def conditions_of(wanted: Wanted) -> dict[str, frozenset[str]]:
    """Attribute -> values as a set; raises DataError for values that are no texts.

    Examples
    --------
    >>> conditions_of({"patient": 9})
    Traceback (most recent call last):
    wsinuc.errors.DataError: expected texts as values of patient, such as ["09", "10"], got 9 (int)
    """
    if not isinstance(wanted, Mapping):
        raise DataError(f"expected values by attribute, got {arguments.came(wanted)}")
    conditions = {}
    for attribute, values in wanted.items():
        several = [values] if isinstance(values, str) else values
        is_texts = isinstance(several, Collection) and all(isinstance(value, str) for value in several)
        if not is_texts or isinstance(several, bytes):
            raise DataError(
                f'expected texts as values of {attribute}, such as ["09", "10"], got {arguments.came(values)}'
            )
        conditions[attribute] = frozenset(several)
    return conditions


def parse_conditions(texts: Sequence[str]) -> dict[str, frozenset[str]]:
    """Conditions as users write them: an attribute, ``=``, and values with commas between them, in quotes or not.

    Raises
    ------
    DataError
        A text has another form.

    Examples
    --------
    >>> sorted(parse_conditions(["patient = 09,10"])["patient"])
    ['09', '10']
    >>> sorted(parse_conditions(["organ='lung, left',breast"])["organ"])
    ['breast', 'lung, left']
    """
    conditions: dict[str, frozenset[str]] = {}
    for text in texts:
        attribute, sign, values = (part.strip() for part in _FORM.fullmatch(text).groups())  # type: ignore[union-attr]
        if sign not in ("", "="):
            raise DataError(
                f"a condition on images compares texts by a single =, as in patient=09,10, got {text!r}; --where-not "
                "leaves images out, and signs such as >= are for the nuclei of results (export, regions, map)"
            )
        if not (attribute and sign and values):
            raise DataError(f"a condition on images looks like patient=09,10, got {text!r}")
        # An attribute named twice means either value, as with commas.
        conditions[attribute] = conditions.get(attribute, frozenset()) | frozenset(arguments.values(values))
    return conditions
