"""Damage to bytes and to JSON for the fuzz script: small, random, the same for the same seed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from helpers.files.checkpoints import ODD, changed, places, without

Rng = np.random.Generator

_NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"-0.0", b"9" * 400, b"4294967295", b"1e-320", b"0x10", b"1_0", "١".encode())
_PIECES = (
    b"\0",
    b"\n",
    b"\r",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b",",
    b";",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[" * 3000,
    b"<a>" * 300,
    b"&a;",
    b"\x1b[31m",
    b"\xe2\x80\xae",
    b"../" * 9,
    b"\xed\xa0\x80",
    b"A" * 5000,
)
_WORDS = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def mutate(rng: Rng, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to four kinds of damage."""
    data = seeds[rng.integers(len(seeds))]
    for _ in range(int(rng.choice([1, 1, 1, 2, 2, 4]))):
        damage = _DAMAGES[rng.integers(len(_DAMAGES))]
        data = damage(rng, data, seeds)
    return data


def mutate_json(rng: Rng, value: Any) -> Any:
    """A JSON value with one inner value replaced by an odd one, or left out."""
    where = list(places(value))
    if not where:
        return ODD[rng.integers(len(ODD))]
    at = where[rng.integers(len(where))]
    if rng.random() < 0.15:
        return without(value, at)
    if rng.random() < 0.3:  # something else of the same file
        other: Any = value
        for step in where[rng.integers(len(where))]:
            other = other[step]
        return changed(value, at, other)
    return changed(value, at, ODD[rng.integers(len(ODD))])


def mutate_document(rng: Rng, seeds: Sequence[bytes]) -> bytes:
    """JSON that stays JSON, most of the time."""
    if rng.random() < 0.3:
        return mutate(rng, seeds)
    value = json.loads(seeds[rng.integers(len(seeds))])
    for _ in range(int(rng.choice([1, 1, 2]))):
        value = mutate_json(rng, value)
    return json.dumps(value).encode()


def _flip(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    changed_data = bytearray(data)
    for _ in range(min(len(data), int(rng.choice([1, 1, 2, 8])))):
        changed_data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(changed_data)


def _overwrite(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A binary number that means a lot, in either byte order; half of them near the start, where headers are."""
    word = int(rng.choice(_WORDS))
    kind = str(rng.choice(["<I", ">I", "<H", ">H", "<Q", "<d", "B"]))
    number = float(rng.choice([np.nan, np.inf, -1.0])) if kind == "<d" else word % (1 << (8 * struct.calcsize(kind)))
    piece = struct.pack(kind, number)
    at = _somewhere(rng, data)
    return data[:at] + piece + data[at + len(piece) :]


def _cut(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    return data[: _somewhere(rng, data)]


def _remove(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = _somewhere(rng, data)
    return data[:at] + data[at + int(rng.choice([1, 2, 7, 100])) :]


def _insert(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = _somewhere(rng, data)
    return data[:at] + _PIECES[rng.integers(len(_PIECES))] + data[at:]


def _repeat(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = _somewhere(rng, data)
    piece = data[at : at + int(rng.choice([1, 5, 50, 500]))]
    return data[:at] + piece * int(rng.choice([2, 3, 30])) + data[at:]


def _splice(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = seeds[rng.integers(len(seeds))]
    return data[: _somewhere(rng, data)] + other[_somewhere(rng, other) :]


def _number(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A number in a text replaced by an odd one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:200_000]))
    if not found:
        return _overwrite(rng, data, seeds)
    match = found[rng.integers(len(found))]
    return data[: match.start()] + _NUMBERS[rng.integers(len(_NUMBERS))] + data[match.end() :]


def _swap(rng: Rng, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Two words of a text change places."""
    found = list(re.finditer(rb"\w+", data[:200_000]))
    if len(found) < 2:
        return _flip(rng, data, seeds)
    first, second = sorted(rng.choice(len(found), 2, replace=False))
    one, two = found[first], found[second]
    middle = data[one.end() : two.start()]
    return data[: one.start()] + two[0] + middle + one[0] + data[two.end() :]


def _somewhere(rng: Rng, data: bytes) -> int:
    reach = min(len(data), 300) if rng.random() < 0.5 else len(data)
    return int(rng.integers(reach + 1))


_DAMAGES: tuple[Callable[[Rng, bytes, Sequence[bytes]], bytes], ...] = (
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _cut,
    _remove,
    _insert,
    _repeat,
    _splice,
    _number,
    _number,
    _swap,
)
