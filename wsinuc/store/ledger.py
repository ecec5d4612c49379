"""What of a run is done: one small sealed file per finished block.

A seal is a hash over the content and over the settings of the run that wrote it. So neither a flipped bit nor an entry
from a run with other settings is ever taken for work that is done: what fails its seal is as good as absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsinuc.grid import Box
from wsinuc.store.files import read_json, write_json
from wsinuc.store.typed import Count, typed

SEAL = "seal"
HASHES = {
    "segmenter": "the model, or its device, precision or number of CPU threads",
    "slide": "the slide's file",
    "tissue": "the tissue mask, or how tissue is found",
    "roi": "the region",
}
"""Settings whose values say nothing to people, and what those stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger: one finished block."""

    block: Count
    nuclei: Count
    shard_sha256: str | None
    """None where the block owns no nuclei and thus has no shard."""
    unreadable: tuple[Box, ...]
    """View pixels."""
    tiles: Count
    at_edge: Count
    seconds: dict[str, float]
    semantic_sha256: str | None = None
    """Of the classes of its pixels; None where they were not asked for, or all are background."""


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Short, stable name of a run's settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """The differences between two runs' settings, in words; empty when they are the same.

    Examples
    --------
    >>> changes({"block": 512, "roi": None}, {"block": 1024, "roi": "1f"})
    ('block was 512, now 1024', 'the region differs')
    """
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return tuple(
        f"{HASHES[key]} differs" if key in HASHES else f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
        for key in keys
    )


def write_sealed(content: Mapping[str, Any], path: Path, run_id: str = "") -> None:
    """Write JSON with a seal; ``run_id`` names the run that it belongs to."""
    write_json(sealed(content, run_id), path)


def read_sealed(path: Path, run_id: str = "") -> dict[str, Any]:
    """What ``write_sealed`` wrote; empty when it is absent, changed, or another run's."""
    return unsealed(read_json(path), run_id)


def sealed(content: Mapping[str, Any], run_id: str = "") -> dict[str, Any]:
    """JSON values and their seal."""
    # Tuples become lists, as they are when the file is read.
    plain = json.loads(json.dumps(content))
    return {**plain, SEAL: _seal(plain, run_id)}


def unsealed(content: Mapping[str, Any], run_id: str = "") -> dict[str, Any]:
    """What ``sealed`` was given; empty when it was changed since, or is another run's."""
    plain = {key: value for key, value in content.items() if key != SEAL}
    if content.get(SEAL) == _seal(plain, run_id):
        return plain
    return {}


def write_entry(entry: Entry, folder: Path, run_id: str) -> None:
    """Write a block's entry into the ledger's folder."""
    write_sealed(asdict(entry), folder / f"{entry.block:06d}.json", run_id)


def read_entry(path: Path, run_id: str) -> Entry | None:
    """A block's entry, None when there is none that can be trusted."""
    content = read_sealed(path, run_id)
    if content:
        return typed(Entry, content)
    return None


def _seal(content: Mapping[str, Any], run_id: str) -> str:
    return hashlib.sha256(f"{run_id} {json.dumps(content, sort_keys=True)}".encode()).hexdigest()
