"""Whether a result is, byte for byte, what was written: every file against the manifest in its summary.

Works on folders and on URLs, and on results that are not finished: there every stored block is
compared with the ledger. What is wrong in them is made anew by the run that continues them, so it
is told and is no damage.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wsinuc.errors import OutputError
from wsinuc.slides.identity.fingerprint import hash_all
from wsinuc.store import ResultStore
from wsinuc.store.manifest import PLAIN, Finding, Inspection, inspect
from wsinuc.store.upload import Digest
from wsinuc.urls import Place, PlaceLike, Url, to_place

WHOLE = "whole"
DAMAGED = "damaged"
UNFINISHED = "unfinished"
UNKNOWN = "unknown"
STREAMS = 4
"""Files that are hashed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What verifying a result has shown."""

    result: Place
    state: str
    """whole; damaged; unfinished; unknown (made by a version that wrote no manifest)."""
    files: int
    """Compared: files of the manifest, or stored blocks of an unfinished result."""
    size: int
    """Bytes in them, as they were written."""
    findings: tuple[Finding, ...]
    """What is wrong, sorted by file."""
    extra: tuple[str, ...]
    """Files in the result's folder that are not its part; no damage."""


def verify(result: PlaceLike, *, on_bytes: Callable[[int, int], None] | None = None) -> Verification:
    """Compare every file of a result with the manifest in its ``summary.json``.

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``), or its URL.
    on_bytes
        Called now and then with how many bytes are compared, and of how many.

    Returns
    -------
    Verification
        ``state`` (whole, damaged, unfinished, unknown), ``findings``, and how much was compared.

    Raises
    ------
    OutputError
        There is no result of wsinuc.
    RemoteError
        The URL is out of reach.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import wsinuc
    >>> result = Path(tempfile.mkdtemp()) / "field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", result, config)
    >>> wsinuc.verify(result).state
    'whole'
    >>> (result / "preview.png").unlink()
    >>> report = wsinuc.verify(result)
    >>> report.state, [str(finding) for finding in report.findings]
    ('damaged', ['preview.png is missing'])
    """
    folder = to_place(result)
    inspection = inspect(folder)
    if not inspection.is_whole and isinstance(folder, Path):
        store = ResultStore(folder)
        if store.work.is_dir() and store.is_ours and store.is_unfinished:
            return _verify_blocks(store, inspection)
    if not inspection.is_whole and not inspection.is_damaged:
        raise OutputError(f"{folder} holds no result of wsinuc: give the folder <slide>.wsinuc, or one that holds some")
    return _verify_files(folder, inspection, on_bytes or (lambda done, total: None))


def results_in(folder: Path) -> list[Path]:
    """A result itself, or the results in an output folder, sorted by name.

    Raises
    ------
    OutputError
        The folder is missing.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; give a result of wsinuc, or a folder of results")
    results = sorted(path for path in folder.glob("?*.wsinuc") if path.is_dir())
    return results or [folder]


def _verify_files(folder: Place, inspection: Inspection, on_bytes: Callable[[int, int], None]) -> Verification:
    files = inspection.made.files
    total = sum(file.size for file in files.values())
    findings = list(inspection.findings)
    # What is missing or has another size is wrong already: its bytes need not be read.
    names = sorted(files.keys() - {finding.file for finding in findings})
    done = 0
    with ThreadPoolExecutor(STREAMS, thread_name_prefix="wsinuc-verify") as pool:
        problems = pool.map(lambda name: _problem(folder / name, files[name]), names)
        for name, problem in zip(names, problems, strict=True):
            done += files[name].size
            on_bytes(done, total)
            if problem:
                findings.append(Finding(name, problem))
    return Verification(
        result=folder,
        state=_state(findings, inspection.made.kind),
        files=len(files),
        size=total,
        findings=tuple(sorted(findings, key=lambda finding: finding.file)),
        extra=inspection.extra,
    )


def _state(findings: list[Finding], kind: str) -> str:
    if findings:
        return DAMAGED
    # A result of a version that wrote no manifest may be whole, but nothing in it proves that.
    return UNKNOWN if kind == PLAIN else WHOLE


def _verify_blocks(store: ResultStore, inspection: Inspection) -> Verification:
    """The stored blocks of an unfinished result."""
    entries = sorted((store.work / "done").glob("*.json"))
    # Those whose entry and shard agree.
    whole_blocks = store.finished()
    names = {f"{block:06d}" for block in whole_blocks}
    findings = [
        Finding(f".run/done/{path.name}", "or its block was changed since it was written: that block is made anew")
        for path in entries
        if path.stem not in names
    ]
    size = sum(store.shard(block).stat().st_size for block, entry in whole_blocks.items() if entry.nuclei)
    return Verification(
        result=store.out,
        state=UNFINISHED,
        files=len(entries),
        size=size,
        findings=tuple(findings),
        extra=inspection.extra,
    )


def _problem(path: Place, file: Digest) -> str:
    """What is wrong with a file that has the right name and size; empty when nothing is."""
    try:
        with _open(path) as stream:
            sha256 = hash_all(stream)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        if isinstance(path, Url):
            raise
        return f"cannot be read ({error.strerror or error})"
    if sha256 == file.sha256:
        return ""
    return "has another content than was written"


def _open(path: Place) -> BinaryIO:
    if isinstance(path, Url):
        return path.open()
    return path.open("rb")
