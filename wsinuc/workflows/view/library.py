"""What a viewer may show: results and slides under the path that it was given, by a key that stands in addresses.

A key is looked up among those of this list and never becomes a part of a path, so no address leads out of the folder.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsinuc.errors import ConfigError, OutputError
from wsinuc.shown import shown
from wsinuc.store.manifest import inspect, looks_made, sizes_below
from wsinuc.store.outputs import SUMMARY
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.teach.apply import Applying

SUFFIX = ".wsinuc"
MOST_OPEN = 4
"""Results of a folder that are held open; more are opened again when they are looked at again."""


@dataclass
class Library:
    """The results that are shown. Safe to share between threads."""

    sources: Mapping[str, Source]
    """By key."""
    is_folder: bool
    """Whether it is a folder of results, which has a page of its own."""
    regions: Path | None = None
    """GeoJSON of regions over the slide."""
    _added: dict[str, Source] = field(default_factory=dict)
    """Results that were made here, by key."""
    _versions: dict[str, int] = field(default_factory=dict)
    _applying: dict[str, Applying] = field(default_factory=dict)
    _opened: dict[str, Opened] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, key: str) -> Opened:
        """A result with its caches. Raises ConfigError for a key that is none."""
        source = self._source(key)
        with self._lock:
            # Moved to the end: those looked at longest ago go first.
            opened = self._opened.pop(key, None)
            if opened is None or opened.is_outdated:
                opened = Opened(source, regions_file=self.regions)
            self._opened[key] = opened
            for old in list(self._opened)[:-MOST_OPEN]:
                del self._opened[old]
        return opened

    def applying(self, key: str) -> Applying:
        """The writing of learned classes of a result. Raises ConfigError for a key that is none."""
        source = self._source(key)
        if source.result is None:
            raise ConfigError("there are no nuclei whose classes could be written")
        with self._lock:
            return self._applying.setdefault(key, Applying(source.result, source.slide))

    def add(self, source: Source, version: int) -> str:
        """Let a result that was made here be shown, too; its key. Another version is opened anew."""
        key = _key(source)
        with self._lock:
            if self._versions.get(key) != version:
                self._opened.pop(key, None)
            self._added[key] = source
            self._versions[key] = version
        return key

    def close(self) -> None:
        """Give up what is being written."""
        for job in self._applying.values():
            job.stop()

    def _source(self, key: str) -> Source:
        source = self.sources.get(key) or self._added.get(key)
        if source is None:
            raise ConfigError("there is no such result here")
        return source

    def rows(self) -> list[dict[str, Any]]:
        """A line of the cohort's table for each result."""
        return [_row(key, source) for key, source in self.sources.items()]


def find_sources(path: Path, *, slide: Path | None = None, regions: Path | None = None) -> Library:
    """What lies at a path: a result, a slide, or a folder of results.

    Parameters
    ----------
    path
        The folder of a result, the file of a slide, or a folder with results in it.
    slide
        The slide of the result, where it is not the one that the result has noted.
    regions
        GeoJSON of regions over the slide.

    Raises
    ------
    OutputError
        Nothing lies there, or a folder that holds no result.
    ConfigError
        A slide or regions are given for a folder of several.
    """
    if not path.exists():
        raise OutputError(
            f"{path}: no such file or folder; give a result (slide{SUFFIX}), a folder of them, or a slide"
        )
    if path.is_file():
        sources = [Source(None, path)]
    elif _is_result(path):
        sources = [Source(path, slide)]
    else:
        sources = [Source(each) for each in sorted(path.iterdir()) if each.is_dir() and each.name.endswith(SUFFIX)]
        if not sources:
            raise OutputError(f"{path} is no result of wsinuc segment and has none in it: expected slide{SUFFIX}")
        if slide is not None or regions is not None:
            raise ConfigError("--slide and --regions are for one result: name it instead of the folder")
        return Library({_key(each): each for each in sources}, is_folder=True)
    return Library({_key(each): each for each in sources}, is_folder=False, regions=regions)


def _is_result(path: Path) -> bool:
    """Also one that is damaged: the page says what is wrong with it."""
    return path.name.endswith(SUFFIX) or (path / SUMMARY).is_file() or looks_made(sizes_below(path))


def _key(source: Source) -> str:
    return hashlib.sha256(source.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _row(key: str, source: Source) -> dict[str, Any]:
    assert source.result is not None
    inspection = inspect(source.result)
    summary = inspection.made.content
    state = "finished"
    if inspection.is_damaged:
        state = f"damaged: {inspection.reason}"
    elif not inspection.is_whole:
        state = "not finished"
    return {
        "key": key,
        "name": shown(source.name),
        "state": shown(state),
        "nuclei": summary.get("nuclei"),
        "tissue": summary.get("tissue_mm2"),
        "density": summary.get("nuclei_per_mm2"),
        "counts": {shown(name): count for name, count in (summary.get("counts") or {}).items()},
    }
