"""What a viewer may show: results and slides under the path that it was given, by a key that stands in addresses.

A key is looked up among those of this list and never becomes a part of a path, so no address leads out of the folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.shown import shown
from wsinuc.store.manifest import inspect, looks_made, read_made, sizes_below
from wsinuc.store.outputs import SUMMARY
from wsinuc.workflows.view.compared import Comparison, compare
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.teach.apply import FOLDER, Applying, applied_path

SUFFIX = ".wsinuc"
MOST_READ = 20
"""Results whose summaries are read to find those of one slide, whatever they are called."""
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

    def others(self, source: Source) -> dict[str, Source]:
        """Other results of the slide of one, by key; those that Apply writes, or has written, among them."""
        if source.result is None:
            return {}
        with self._lock:
            for beside in _beside(source.result):
                self._added.setdefault(_key(beside), beside)
            known = {**self._added, **self.sources}
        key = _key(source)
        # Of a cohort only those that are called the same, so that no thousand summaries are read.
        near = {k: each for k, each in known.items() if k != key and _may_be_same(source, each, len(known))}
        slide = _slide_of(source.result)
        if slide is None:
            return {}
        return {k: each for k, each in near.items() if each.result is not None and _slide_of(each.result) == slide}

    def compare(self, opened: Opened, other: str) -> Comparison:
        """The nuclei of a result beside those of another one, compared once.

        Raises
        ------
        ConfigError
            There is no such result, or it is of another slide.
        DataError
            One has no nuclei, or is damaged.
        """
        there = self.open(other)
        if there.pyramid.shape != opened.pyramid.shape:
            raise ConfigError("these are results of two slides")
        tables = (opened.table, there.table)
        if tables[0] is None or tables[1] is None:
            raise DataError("there are no nuclei to compare")
        with opened.comparing:
            known = opened.comparisons.get(other)
            if known is None or known.there is not tables[1]:
                known = opened.comparisons[other] = compare(tables[0], tables[1])
        return known

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


def find_sources(*paths: Path, slide: Path | None = None, regions: Path | None = None) -> Library:
    """What lies at paths: results, slides, and folders of results.

    Parameters
    ----------
    paths
        Each the folder of a result, the file of a slide, or a folder with results in it.
    slide
        The slide of the result, where it is not the one that the result has noted.
    regions
        GeoJSON of regions over the slide.

    Raises
    ------
    OutputError
        Nothing lies there, or a folder that holds no result.
    ConfigError
        A slide or regions are given for several.
    """
    sources = [each for path in paths for each in _sources_at(path)]
    is_folder = len(paths) > 1 or _is_folder(paths[0])
    if is_folder and (slide is not None or regions is not None):
        raise ConfigError("--slide and --regions are for one result: name it alone")
    if slide is not None:
        sources = [replace(each, slide=slide) for each in sources]
    return Library({_key(each): each for each in _told_apart(sources)}, is_folder=is_folder, regions=regions)


def _sources_at(path: Path) -> list[Source]:
    if not path.exists():
        raise OutputError(
            f"{path}: no such file or folder; give a result (slide{SUFFIX}), a folder of them, or a slide"
        )
    if path.is_file():
        return [Source(None, path)]
    if not _is_folder(path):
        return [Source(path)]
    sources = [Source(each) for each in sorted(path.iterdir()) if each.is_dir() and each.name.endswith(SUFFIX)]
    if not sources:
        raise OutputError(f"{path} is no result of wsinuc segment and has none in it: expected slide{SUFFIX}")
    return sources


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not _is_result(path)


def _told_apart(sources: list[Source]) -> list[Source]:
    """With the names of their folders where several are called the same."""
    names = Counter(each.name for each in sources)
    return [replace(each, folder=each.place.parent.name) if names[each.name] > 1 else each for each in sources]


def _beside(result: Path) -> list[Source]:
    """The result that Apply has written of one, and the one of which it was written."""
    place = result.resolve()
    near = [Source(applied_path(place), folder=FOLDER)]
    if place.parent.name == FOLDER:
        near.append(Source(place.parent.parent / place.name, folder=place.parent.parent.name))
    return [each for each in near if (each.place / SUMMARY).is_file()]


def _may_be_same(one: Source, other: Source, count: int) -> bool:
    return count <= MOST_READ or one.place.name == other.place.name


def _slide_of(result: Path) -> Any:
    """What tells a slide from others; None where a damaged result does not say it."""
    content = read_made(result).content
    return content.get("slide_stamp") or content.get("slide")


def _is_result(path: Path) -> bool:
    """Also one that is damaged: the page says what is wrong with it."""
    return path.name.endswith(SUFFIX) or (path / SUMMARY).is_file() or looks_made(sizes_below(path))


def _key(source: Source) -> str:
    return hashlib.sha256(os.fsencode(source.place)).hexdigest()[:12]


def _row(key: str, source: Source) -> dict[str, Any]:
    if source.result is None:
        return {"key": key, "name": shown(source.name), "state": "slide", "counts": {}}
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
