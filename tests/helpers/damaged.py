"""Results with one fault in them, and what everything that reads them makes of it.

``make_case`` segments a small slide; ``flip`` and ``harm`` put a fault into a folder; ``Finished``
and ``Unfinished`` ask all that reads such a result whether it refuses, whether what it says is
still true, or whether it is silently wrong.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from helpers.oracle import write_slide
from helpers.runs import Stop, run
from wsinuc.errors import DamageError, WsinucError
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.nuclei import Nuclei
from wsinuc.store import Entry, Parts, ResultStore, iter_nuclei
from wsinuc.store.calibration import read_calibration
from wsinuc.store.ledger import read_sealed
from wsinuc.store.manifest import parse_summary
from wsinuc.workflows.cohort.status import cohort_status
from wsinuc.workflows.verify.run import verify

REFUSED, ANEW, HARMLESS, WRONG = "refused", "made anew", "harmless", "silently wrong"
OTHER = ("deleted", "cut", "emptied", "tail zeroed", "exchanged", "in another's place", "of another slide", "doubled")
BLOCK = 128


@dataclass(frozen=True)
class Case:
    """A slide, and its result finished and unfinished."""

    slide: Path
    finished: Path
    unfinished: Path
    others: tuple[Path, Path]
    """Results of another slide, finished and unfinished."""


@dataclass(frozen=True)
class Outcome:
    """What a fault led to."""

    verdict: str
    error: str
    """Class of the first error."""
    detail: str = ""
    """What was silently wrong."""


def make_case(folder: Path) -> Case:
    """Segment two slides to the end, and until everything lies in the working area."""
    slides = [write_slide(folder / f"plane{seed}.tiff", (250, 300), levels=1, seed=seed) for seed in (0, 1)]
    finished = [folder / f"finished{seed}.wsinuc" for seed in (0, 1)]
    unfinished = [folder / f"unfinished{seed}.wsinuc" for seed in (0, 1)]
    for slide, whole, stopped in zip(slides, finished, unfinished, strict=True):
        run(slide, whole, block=BLOCK)
        stop_before_publishing(slide, stopped)
    return Case(slides[0], finished[0], unfinished[0], (finished[1], unfinished[1]))


def stop_before_publishing(slide: Path, out: Path) -> None:
    """A run that is interrupted when every kind of file lies in its working area."""

    def stop(self: ResultStore, summary: object) -> None:
        raise Stop

    publish = ResultStore.publish
    ResultStore.publish = stop  # type: ignore[method-assign, assignment]
    try:
        with suppress(Stop):
            run(slide, out, block=BLOCK)
    finally:
        ResultStore.publish = publish  # type: ignore[method-assign]


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip_bit(path: Path, *, at: int | None = None, share: float = 0.5, bit: int = 0) -> None:
    """Turn one bit of a file over: of the byte ``at``, or of that after a ``share`` of the file."""
    data = bytearray(path.read_bytes())
    place = min(int(len(data) * share), len(data) - 1) if at is None else at
    data[place] ^= 1 << bit
    path.write_bytes(data)


def flip(rng: np.random.Generator, folder: Path) -> Path:
    """Change one byte of one file."""
    files = [path for path in files_of(folder) if path.stat().st_size]
    sizes = np.array([path.stat().st_size for path in files], float)
    weights = sizes / sizes.sum() if rng.random() < 0.5 else None
    path = files[rng.choice(len(files), p=weights)]
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    return path


def harm(rng: np.random.Generator, folder: Path, kind: str, foreign: Path) -> Path:
    """Put a fault of another kind in, perhaps with a file of the result ``foreign``; returns the file that is hit."""
    files = files_of(folder)
    path = files[rng.integers(len(files))]
    data = path.read_bytes()
    other = files[rng.integers(len(files))]
    if kind == "deleted":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(data[: rng.integers(len(data))])
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "tail zeroed":
        keep = int(rng.integers(len(data)))
        path.write_bytes(data[:keep] + bytes(len(data) - keep))
    elif kind == "exchanged":
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    elif kind == "in another's place":
        path.write_bytes(other.read_bytes())
    elif kind == "of another slide":
        twin = foreign / path.relative_to(folder)
        path.write_bytes(twin.read_bytes() if twin.is_file() else b"another")
    else:
        return _double(rng, path, data)
    return path


def _double(rng: np.random.Generator, path: Path, data: bytes) -> Path:
    """The same file once more, under the name of another block."""
    digits = "".join(letter if letter.isdigit() else " " for letter in path.stem).split()
    if not digits:
        twin = path.with_name(f"copy-of-{path.name}")
    else:
        number = f"{int(rng.integers(50, 99)):0{len(digits[-1])}d}"
        twin = path.with_name(path.name.replace(digits[-1], number))
    twin.write_bytes(data)
    return twin


class Finished:
    """Asks everything that reads a finished result."""

    def __init__(self, case: Case) -> None:
        self.folder = case.finished
        self.foreign = case.others[0]
        self.content = {path: path.read_bytes() for path in files_of(self.folder)}
        self.parts = [table_hash(part) for part in iter_nuclei(self.folder)]
        self.geojson = self._export()
        self.status = cohort_status([self.folder])[0]
        self.made = parse_summary((self.folder / "summary.json").read_bytes())
        assert verify(self.folder).state == "whole"

    def judge(self, path: Path) -> Outcome:
        """What the fault in ``path`` leads to."""
        asked = [self._verify, self._read, self._status, self._rerun]
        if path.parent.name == "nuclei" or path.name == "summary.json":
            asked.insert(2, self._read_geojson)
        return _first([ask() for ask in asked])

    def restore(self) -> None:
        """Take the fault out again."""
        for path in files_of(self.folder):
            if path not in self.content:
                path.unlink()
        for path, data in self.content.items():
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)

    def _verify(self) -> Outcome:
        def ask() -> str:
            state = verify(self.folder).state
            if state != "whole":
                raise DamageError(state)
            return "" if self._is_same() else "verify says whole"

        return _asked(ask)

    def _is_same(self) -> bool:
        """Whether every file has its bytes, or in the summary its meaning; files beside the result do not count."""
        for path, data in self.content.items():
            now = path.read_bytes()
            if now != data and not (path.name == "summary.json" and parse_summary(now) == self.made):
                return False
        return True

    def _read(self) -> Outcome:
        def ask() -> str:
            count = 0
            for part, expected in zip(iter_nuclei(self.folder), [*self.parts, ""], strict=False):
                if table_hash(part) != expected:
                    return "iter_nuclei yields other rows"
                count += 1
            return "" if count == len(self.parts) else "iter_nuclei yields fewer rows"

        return _asked(ask)

    def _read_geojson(self) -> Outcome:
        return _asked(lambda: "" if self._export() == self.geojson else "the export has other nuclei")

    def _export(self) -> bytes:
        path = self.folder.parent / "export.geojson"
        write_geojson(Parts(self.folder), path, run_id="run")
        return path.read_bytes()

    def _status(self) -> Outcome:
        def ask() -> str:
            (found,) = cohort_status([self.folder])
            if found.state != "done":
                raise DamageError(found.state)
            return "" if found == self.status else "status tells other figures"

        return _asked(ask)

    def _rerun(self) -> Outcome:
        """A run must refuse, whatever it finds, and touch nothing; refusing what is whole is no sign of a fault."""
        before = {path: path.stat().st_mtime_ns for path in files_of(self.folder)}
        try:
            with ResultStore(self.folder).open_run(dict(self.made.content["settings"]), resume=True, overwrite=False):
                return Outcome(WRONG, "", "a run begins over the result")
        except DamageError as error:
            outcome = Outcome(REFUSED, type(error).__name__)
        except WsinucError:
            outcome = Outcome(HARMLESS, "")
        after = {path: path.stat().st_mtime_ns for path in files_of(self.folder)}
        return outcome if before == after else Outcome(WRONG, "", "a run that refuses changes files")


class Unfinished:
    """Asks what reads an unfinished result, and the run that continues it."""

    def __init__(self, case: Case) -> None:
        self.slide = case.slide
        self.foreign = case.others[1]
        self.source = case.unfinished
        self.folder = case.unfinished.with_name("scratch.wsinuc")
        self.reference = _tree(case.finished)
        store = ResultStore(self.source)
        self.settings = read_sealed(store.work / "settings.json")
        self.entries = store.finished()
        self.tables = {block: table_hash(store.read(block)) for block, entry in self.entries.items() if entry.nuclei}
        self.calibration = read_calibration(store.work / "calibration")
        self.nuclei = sum(entry.nuclei for entry in self.entries.values())
        self.resumes = False
        self.restore()

    def judge(self, path: Path) -> Outcome:
        """What the fault leads to; with ``resumes`` the run itself is made."""
        looks = [self._looks(), self._plans()]
        return _first([*looks, self._resumes()] if self.resumes and looks[1].verdict != REFUSED else looks)

    def restore(self) -> None:
        """A new copy."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.source, self.folder)

    def _looks(self) -> Outcome:
        """Looking from outside: nothing may take it for finished, or count more than there is."""
        with suppress(WsinucError):
            if verify(self.folder).state == "whole":
                return Outcome(WRONG, "", "verify says whole")
        with suppress(WsinucError):
            for _ in iter_nuclei(self.folder):
                return Outcome(WRONG, "", "iter_nuclei yields rows of an unfinished result")
        with suppress(WsinucError):
            (found,) = cohort_status([self.folder])
            if found.state != "interrupted" or found.nuclei > self.nuclei or found.blocks_done > len(self.entries):
                return Outcome(WRONG, "", f"status says {found.state}, {found.nuclei} nuclei")
        return Outcome(HARMLESS, "")

    def _plans(self) -> Outcome:
        """What the run that continues takes over."""
        store = ResultStore(self.folder)
        try:
            with store.open_run(self.settings, resume=True, overwrite=False):
                taken = store.finished()
                calibration = read_calibration(store.work / "calibration")
                right = all(self._is_right(store, block, entry) for block, entry in taken.items())
        except WsinucError as error:
            return Outcome(REFUSED, type(error).__name__)
        if not right or not (calibration is None or _same(calibration, self.calibration or {})):
            return Outcome(WRONG, "", "the run takes over what was not stored")
        return Outcome(HARMLESS if len(taken) == len(self.entries) and calibration is not None else ANEW, "")

    def _is_right(self, store: ResultStore, block: int, entry: Entry) -> bool:
        if entry != self.entries.get(block):
            return False
        return not entry.nuclei or table_hash(store.read(block)) == self.tables[block]

    def _resumes(self) -> Outcome:
        try:
            run(self.slide, self.folder, block=BLOCK)
        except WsinucError as error:
            return Outcome(REFUSED, type(error).__name__)
        same = _tree(self.folder) == self.reference and verify(self.folder).state == "whole"
        return Outcome(HARMLESS if same else WRONG, "", "" if same else "the continued run has another result")


def _asked(ask: Callable[[], str]) -> Outcome:
    """What asking leads to; an error that is none of ours counts as wrong, because it says nothing."""
    try:
        detail = ask()
    except WsinucError as error:
        return Outcome(REFUSED, type(error).__name__)
    except Exception as error:
        return Outcome(WRONG, type(error).__name__, f"unexpected {type(error).__name__}: {error}")
    return Outcome(WRONG if detail else HARMLESS, "", detail)


def _first(outcomes: list[Outcome]) -> Outcome:
    """The worst of several outcomes."""
    order = (WRONG, REFUSED, ANEW, HARMLESS)
    return min(outcomes, key=lambda outcome: order.index(outcome.verdict))


def table_hash(nuclei: Nuclei) -> str:
    """Hash of all values of a table."""
    digest = hashlib.sha256()
    for field in fields(Nuclei):
        value = getattr(nuclei, field.name)
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else _plain(value))
    return digest.hexdigest()


def _plain(value: object) -> bytes:
    if isinstance(value, dict):
        return b"".join(name.encode() + array.tobytes() for name, array in value.items())
    return repr(value).encode()


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in files_of(folder) if path.name != "summary.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest() for path in files}
