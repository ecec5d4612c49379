"""One result, one format, one call: what was asked for is checked, and a file or folder appears whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsinuc import own_files
from wsinuc.errors import ConfigError, OutputError
from wsinuc.exports.atomic import appearing
from wsinuc.exports.formats.registry import Format, parse_formats
from wsinuc.regular import require_parent
from wsinuc.store.manifest import read_made, require_whole
from wsinuc.urls import PathLike, PlaceLike, Url, to_path, to_place

SUFFIX = ".wsinuc"
_ZARR = ("zarr.json", ".zgroup", ".zattrs")
"""Files that the folder of a Zarr store has."""


def export(
    result: PlaceLike,
    to: str,
    out: PathLike | None = None,
    *,
    overwrite: bool = False,
    where: str | Sequence[str] = (),
    **options: Any,
) -> Path:
    """Write a finished result in another format.

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``).
    to
        The format, one of `wsinuc.exports.formats.registry.FORMATS`: geoparquet, csv, csv.gz, geojson, ...
    out
        The file or folder to write; an existing folder holds it under its default name. None writes beside the
        result: ``slide.nuclei.csv`` beside ``slide.wsinuc``.
    overwrite
        Replace what lies there.
    where
        Conditions on the nuclei that are written, such as ``["probability>=0.6", "class=Tumor,Stroma"]``; all must
        hold. Formats with label images (ome-zarr, spatialdata) hold all nuclei and take none.
    **options
        Those of the format.

    Returns
    -------
    Path
        The file or folder that was written.

    Raises
    ------
    ConfigError
        There is no such format, it has no such option, the table has no such column or class as a condition asks for,
        or a package that the format needs is not installed.
    DamageError, OutputError, DataError
        The result is none, is damaged, or lies at a URL; or ``out`` is there already, has another ending than
        the format, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> result = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", result, config)
    >>> wsinuc.export(result, to="csv").name
    'field.nuclei.csv'
    >>> wsinuc.export(result, to="geojson", where="probability>=0.6").name
    'field.nuclei.geojson'
    """
    formats = parse_formats(to)
    if len(formats) != 1:
        raise ConfigError(f"expected one format, got {to!r}: call export once for each")
    kind = formats[0]
    if where:
        options["where"] = where
    kind.check_options(options)
    folder = finished(result)
    path = target(folder, kind, out, overwrite=overwrite)
    with _replaceable(path) as place:
        kind.load()(folder, place, **options)
    return path


def finished(result: PlaceLike) -> Path:
    """The directory of a finished result whose files are there; raises as `export` does."""
    place = to_place(result)
    if isinstance(place, Url):
        raise OutputError(f"{place} is a URL, and results are exported from a folder: copy it to this computer first")
    require_whole(place)
    return place


def target(result: Path, kind: Format, out: PathLike | None = None, *, overwrite: bool = False) -> Path:
    """Where `export` writes a result, which it raises OutputError for when it may not be written."""
    path = _target(result, kind, out)
    if result.resolve() in path.resolve().parents:
        raise OutputError(f"{path} lies in the result itself, whose files are sealed: choose another -o")
    own_files.check_outside_results(path)
    own_files.check_length(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already: add --overwrite to replace it, or choose another -o")
    return path


def _target(result: Path, kind: Format, out: PathLike | None) -> Path:
    if out is None:
        return folder_of(result) / default_name(result, kind)
    path = to_path(out)
    # Python cannot even look whether such a name is there.
    own_files.check_length(path)
    # A folder called .zarr is a store, which is replaced or refused.
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return path / default_name(result, kind)
    if path.name.lower().endswith(kind.endings):
        return path
    raise OutputError(f"{path} has another ending than {kind.name} ({', '.join(kind.endings)}): choose another -o")


def folder_of(result: Path) -> Path:
    """The folder that a result lies in, also when it is the current one."""
    if result.name in ("", ".."):
        return result.resolve().parent
    return result.parent


def default_name(result: Path, kind: Format) -> str:
    """Name of the file or folder for a result when none is given."""
    usual, *large = default_names(result, kind)
    if not large:
        return usual
    # Takes a compiler, which the other formats do without.
    from wsinuc.exports.qupath.geojson import default_geojson_name

    is_large = default_geojson_name(_nuclei(result)) != default_geojson_name(0)
    return large[0] if is_large else usual


def default_names(result: Path, kind: Format) -> tuple[str, ...]:
    """The usual default name, and the one for many nuclei where a format has another for them."""
    stem = result.resolve().name.removesuffix(SUFFIX)
    return tuple(stem + ending for ending in (kind.endings[0], kind.large_ending) if ending)


def _nuclei(result: Path) -> int:
    """How many nuclei a finished result has; 0 while it is not finished."""
    return int(read_made(result).content.get("nuclei", 0))


@contextmanager
def _replaceable(path: Path) -> Iterator[Path]:
    """Where to write what is to stand at ``path``: there, or aside when a folder has to make room.

    Raises
    ------
    OutputError
        The folder that is to make room is no Zarr store, or its own folder is missing.
    """
    require_parent(path)
    if not path.is_dir():
        yield path
        return
    if not any((path / name).is_file() for name in _ZARR):
        raise OutputError(f"{path} is a folder and no Zarr store, so it is not replaced: choose another -o")
    with appearing(path, replace=True) as new:
        yield new
