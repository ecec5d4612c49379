"""What ``summary.json`` promises of a result's files, and whether they are there.

The summary of a finished result lists every other file with its size and SHA-256 (``files``), for a
Zarr image every shard, and ends with a seal, a hash over the rest of itself. So there is one thing
to believe, and it shows when it was touched.

``inspect`` compares names and sizes, which costs a look into the folders;
``wsinuc.workflows.verify.run`` reads every byte. Files that users put into a result's folder do no
harm and are only mentioned, but not where a reader of the result would take them for its part: a
Parquet file more in ``nuclei/``, a shard more in ``labels.ome.zarr``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.errors import DamageError, DataError, OutputError
from wsinuc.limits import parse_json, read_bounded
from wsinuc.store.ledger import SEAL, sealed, unsealed
from wsinuc.store.outputs import OUTPUTS, SUMMARY, part_block
from wsinuc.store.typed import Facts, typed
from wsinuc.store.upload import Digest, list_sizes
from wsinuc.urls import Place, Url, remote_errors

FILES = "files"
ABSENT = "absent"
"""Kind of a summary: the file is not there."""
FOREIGN = "foreign"
"""Another program's."""
PLAIN = "plain"
"""Ours, of a version that wrote no manifest."""
SEALED = "sealed"
"""Ours, with a manifest and a seal that fits."""
BROKEN = "broken"
"""Unreadable, ours or anybody's."""

_IMAGE = "labels.ome.zarr/zarr.json"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What ``summary.json`` says."""

    kind: str
    """ABSENT, FOREIGN, PLAIN, SEALED or BROKEN."""
    content: Mapping[str, Any]
    """The summary without manifest and seal; empty unless PLAIN or SEALED."""
    files: Mapping[str, Digest]
    """The manifest: names relative to the result, with ``/``; empty unless SEALED."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a result."""

    file: str
    """Relative to the result."""
    problem: str
    """Such as "is missing"."""

    def __str__(self) -> str:
        return f"{self.file} {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A result as its names and sizes show it."""

    made: Made
    findings: tuple[Finding, ...]
    """What is wrong; empty when nothing is."""
    extra: tuple[str, ...]
    """Files and folders that are no part of the result, and do no harm."""

    @property
    def is_damaged(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.findings)

    @property
    def is_whole(self) -> bool:
        """Whether it is finished, and nothing is wrong with it (as far as a summary without a manifest can tell)."""
        return self.made.kind in (PLAIN, SEALED) and not self.findings

    @property
    def reason(self) -> str:
        """What is wrong, in a few words."""
        if not self.findings:
            return ""
        more = len(self.findings) - 1
        if more:
            return f"{self.findings[0]}, and {more} more"
        return str(self.findings[0])


def with_manifest(summary: Mapping[str, Any], files: Mapping[str, Digest]) -> dict[str, Any]:
    """The content of ``summary.json``: a summary, the manifest of ``files``, and the seal."""
    listed = {name: [file.size, file.sha256] for name, file in files.items()}
    return sealed({"made_by": "wsinuc", **summary, FILES: listed})


def read_made(result: Place) -> Made:
    """What the summary of a result says. Raises RemoteError when a store is out of reach."""
    data = _read(result / SUMMARY)
    if data is None:
        return Made(kind=ABSENT, content={}, files={})
    return parse_summary(data)


def parse_summary(data: bytes) -> Made:
    """What a file ``summary.json`` says.

    Ours has three signs: who made it, manifest, seal. A flipped byte can take away one of them, so
    two are enough to expect all.
    """
    broken = Made(kind=BROKEN, content={}, files={})
    try:
        content = parse_json(data, SUMMARY)
        if not isinstance(content, dict):
            return broken
        facts = unsealed(content)
    # RecursionError: brackets that are nested without end.
    except (DataError, ValueError, RecursionError):
        return broken
    is_ours = content.get("made_by") == "wsinuc"
    # A seal tells damage, not intent: types are compared before anybody counts on them.
    if is_ours and typed(Facts, content) is None:
        return broken
    signs = is_ours + (FILES in content) + (SEAL in content)
    if signs < 2 and is_ours:
        return Made(kind=PLAIN, content=content, files={})
    if signs < 2:
        return Made(kind=FOREIGN, content={}, files={})
    files = _parse_files(facts.pop(FILES, None))
    if files is None or facts.get("made_by") != "wsinuc":
        return broken
    return Made(kind=SEALED, content=facts, files=files)


def inspect(result: Place) -> Inspection:
    """Compare the names and sizes of a result's files with its manifest. Raises RemoteError."""
    made = read_made(result)
    sizes = sizes_below(result)
    return Inspection(made=made, findings=tuple(_findings(made, sizes)), extra=_extra(made, sizes))


def require_whole(result: Place) -> Made:
    """What the summary of a finished result says.

    Raises
    ------
    DamageError
        Files of the result are missing, foreign or of another size, or its summary is unreadable.
    OutputError
        It is no finished result.
    RemoteError
        The URL is out of reach.
    """
    inspection = inspect(result)
    if inspection.is_damaged:
        raise DamageError(f"{result} is damaged: {inspection.reason}; wsinuc verify lists all that is wrong")
    if not inspection.is_whole:
        raise OutputError(
            f"{result} holds no summary.json of wsinuc, so it is not a complete wsinuc result: expected the folder of "
            f"a finished result (slide.wsinuc)"
        )
    return inspection.made


def sizes_below(result: Place) -> dict[str, int]:
    """Sizes of the files of a result, by names relative to it; -1 for what is neither file nor one of our folders.

    The working area of a run is left out. Raises RemoteError.
    """
    if isinstance(result, Url):
        sizes = list_sizes(result)
    else:
        sizes = dict(_local_sizes(result))
    return {name: size for name, size in sizes.items() if name.partition("/")[0] not in (".run", SUMMARY)}


def looks_made(names: Collection[str]) -> bool:
    """Whether names are those of our outputs, even where no summary says so."""
    return _IMAGE in names or any(part_block(name) is not None for name in names)


def is_made_by_us(result: Place) -> bool:
    """Whether what lies below ``result`` is a result of wsinuc, whole or damaged. Raises RemoteError."""
    kind = read_made(result).kind
    return kind in (PLAIN, SEALED) or (kind in (BROKEN, ABSENT) and looks_made(sizes_below(result)))


def is_foreign(name: str) -> bool:
    """Whether a file that no manifest lists lies where readers would take it for a part of the result."""
    top, _, rest = name.partition("/")
    if top == "nuclei":
        return rest.endswith(".parquet")
    return top in OUTPUTS and not name.rpartition("/")[2].startswith(".")


def _read(path: Place) -> bytes | None:
    """A file's bytes; None when it is not there."""
    if isinstance(path, Path):
        try:
            if path.is_file():
                return read_bounded(path)
            return None
        except (OSError, DataError):
            # It is there and cannot be read: empty is a summary that nobody believes.
            return b""
    fs, name = path.filesystem()
    with remote_errors(path):
        try:
            return bytes(fs.cat_file(name))
        except FileNotFoundError:
            return None


def _parse_files(listed: Any) -> dict[str, Digest] | None:
    """A manifest; None when it has another form, or names files that are no outputs: it may come from a stranger."""
    try:
        files = {name: Digest(size, sha256) for name, (size, sha256) in listed.items()}
    except (AttributeError, TypeError, ValueError):
        return None
    if all(_is_output(name) and _is_digest(file) for name, file in files.items()):
        return files
    return None


def _is_output(name: str) -> bool:
    parts = name.split("/")
    return parts[0] in OUTPUTS and not {"", ".", ".."} & set(parts) and "\\" not in name


def _is_digest(file: Digest) -> bool:
    is_hash = isinstance(file.sha256, str) and bool(_SHA256.fullmatch(file.sha256))
    return is_hash and isinstance(file.size, int) and file.size >= 0


def _findings(made: Made, sizes: Mapping[str, int]) -> Iterator[Finding]:
    if made.kind == BROKEN and looks_made(sizes):
        yield Finding(SUMMARY, "is unreadable: empty, cut off, or changed since it was written")
    if made.kind == ABSENT and looks_made(sizes):
        yield Finding(SUMMARY, "is missing: the result was copied incompletely, or its summary deleted")
    if made.kind == PLAIN and not looks_made(sizes):
        yield Finding("nuclei", "is missing: the result was copied incompletely, or its table deleted")
    if made.kind != SEALED:
        return
    for name, file in made.files.items():
        size = sizes.get(name, -1)
        if size < 0:
            yield Finding(name, "is missing")
        elif size != file.size:
            yield Finding(name, f"has {size} bytes, {file.size} were written")
    for name in sizes.keys() - made.files.keys():
        if is_foreign(name):
            yield Finding(name, "is no file of this result: copied here from another one, or left by another program")


def _extra(made: Made, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name not in made.files and not is_foreign(name)))


def _local_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Files at the top and below our own folders; other folders as one name, whatever they hold."""
    try:
        entries = list(os.scandir(folder))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return
    for entry in entries:
        if entry.name in OUTPUTS and entry.is_dir():
            yield from _walk(folder, Path(entry.path))
        else:
            yield entry.name, _size(Path(entry.path))


def _walk(folder: Path, inner: Path) -> Iterator[tuple[str, int]]:
    for root, _, names in os.walk(inner):
        below = Path(root).relative_to(folder).as_posix()
        for name in names:
            yield f"{below}/{name}", _size(Path(root) / name)


def _size(path: Path) -> int:
    """Bytes of a file; -1 of anything else (a pipe, a folder, a link to nowhere)."""
    try:
        status = path.stat()
    except OSError:
        return -1
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    return -1
