"""``--also``: a result in other formats by the run that makes it, each beside the result under its default name.

A format is written when the result is complete. What goes wrong then leaves the result complete, and
the same cohort, or ``wsinuc export``, writes what is missing.
"""

from __future__ import annotations

from pathlib import Path

from wsinuc import own_files
from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError, OutputError
from wsinuc.exports.formats.registry import parse_formats
from wsinuc.exports.formats.write import default_name, default_names, export, folder_of
from wsinuc.urls import Place, PlaceLike, Url, to_place


def check_also(out: PlaceLike, config: SegmentConfig) -> None:
    """Raise what stands in the way of the formats that a run is to write, before it begins.

    Raises
    ------
    ConfigError
        There is no such format, a package is missing, or the result is to lie at a URL.
    OutputError
        A file of that name is there, and ``config.overwrite`` is not set.
    """
    formats = parse_formats(config.also)
    if not formats:
        return
    place = to_place(out)
    if isinstance(place, Url):
        raise ConfigError(
            f"other formats are written beside a result, and {place} is a URL: leave out --also, and give "
            "wsinuc export a copy of the result"
        )
    for kind in formats:
        # How many nuclei there will be is not known yet, so both names must be free.
        paths = [folder_of(place) / name for name in default_names(place, kind)]
        for path in paths:
            own_files.check_length(path)
        there = [path for path in paths if path.exists()]
        if there and not config.overwrite:
            raise OutputError(f"{there[0]} is there already: add --overwrite to replace it, or choose another -o")


def write_also(result: Path, config: SegmentConfig) -> None:
    """Write a result that has just been made in the formats of ``config.also``; what is there is of an older one."""
    for kind in parse_formats(config.also):
        export(result, kind.name, overwrite=True)


def write_missing(result: Place, config: SegmentConfig) -> None:
    """Write a result that was complete before in those formats of ``config.also`` that are not there."""
    for kind in parse_formats(config.also):
        if isinstance(result, Path) and not (folder_of(result) / default_name(result, kind)).exists():
            export(result, kind.name)
