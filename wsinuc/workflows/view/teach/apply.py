"""Learned classes on their way to a result of their own, which ``wsinuc classify -o classified`` would write as well.

The result that is looked at is never changed: pages and people may be reading it, the classes that the model gave
would be lost, and what somebody else made of it would no longer fit. So the new one goes to ``classified`` beside it,
under the same name, made aside and renamed when it is whole. What lies there already is replaced only if it was made
in the same way of the same run, and only when the page says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from wsinuc import own_files
from wsinuc.errors import DamageError, OutputError, WsinucError
from wsinuc.store.manifest import read_made
from wsinuc.store.parts import provenance
from wsinuc.workflows.view.teach.learn import Learned

FOLDER = "classified"
"""Folder beside the result that the new one is written to."""
WAIT_S = 10.0
"""How long the end of the program waits for what was begun to be cleared away."""
IDLE = "idle"
WRITING = "writing"
DONE = "done"
FAILED = "failed"
THERE = "there"
"""A result lies there already, and the page has not said that it may be replaced."""


class _Stopped(Exception):
    """The program ends."""


def applied_path(result: Path) -> Path:
    """Where the result with learned classes goes.

    Examples
    --------
    >>> applied_path(Path("/out/slide.wsinuc")).as_posix()
    '/out/classified/slide.wsinuc'
    """
    folder = result.resolve()
    return folder.parent / FOLDER / f"{folder.name.removesuffix('.wsinuc')}.wsinuc"


@dataclass
class Applying:
    """The one job of a result. Safe to share between threads."""

    result: Path
    slide: Path | None = None
    """The slide, where it is not the one that the result has noted."""
    state: str = IDLE
    stage: str = ""
    """What is written at the moment, or why nothing was."""
    counts: dict[str, int] = field(default_factory=dict)
    """Nuclei per class, when it is done."""
    version: int = 0
    """How often it was done."""
    _stopping: bool = False
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def out(self) -> Path:
        """Where the new result will be."""
        return applied_path(self.result)

    def report(self) -> dict[str, Any]:
        """For the page."""
        command = f"wsinuc view {quote(str(self.out))}"
        return {
            "state": self.state,
            "stage": self.stage,
            "place": str(self.out),
            "command": command,
            "counts": self.counts,
        }

    def start(self, learned: Learned, *, replace: bool) -> None:
        """Begin to write, unless it is being done already, or something lies there that is not to be replaced.

        Raises
        ------
        OutputError
            What lies there is none of ours to replace.
        """
        with self._lock:
            if self.state == WRITING:
                return
            if self.out.exists():
                check_replaceable(self.result, self.out)
                if not replace:
                    self.state = THERE
                    return
            self.state = WRITING
            self.stage = "a new folder"
            # Ends with the program; `stop` lets it clear up first.
            self._thread = threading.Thread(target=self._write, args=(learned,), name="wsinuc-apply", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Give up what is being written, and wait until nothing is left of it."""
        self._stopping = True
        if self._thread is not None:
            self._thread.join(WAIT_S)

    def _write(self, learned: Learned) -> None:
        try:
            self.counts = write_applied(learned, self.out, slide=self.slide, tell=self._tell)
        except _Stopped:
            self.state = IDLE
        except (WsinucError, OSError) as error:
            self._fail(str(error))
        except Exception as error:  # the page would wait for ever
            self._fail(f"unexpected {type(error).__name__}: {error}")
        else:
            self.stage = ""
            self.version += 1
            self.state = DONE

    def _tell(self, stage: str) -> None:
        if self._stopping:
            raise _Stopped
        self.stage = stage

    def _fail(self, reason: str) -> None:
        self.stage = reason
        self.state = FAILED


def write_applied(learned: Learned, out: Path, *, slide: Path | None, tell: Callable[[str], None]) -> dict[str, int]:
    """Write a result with the classes that were learned; nuclei per class.

    Raises
    ------
    OutputError, DamageError
        As `wsinuc.workflows.reclassify.write.write_classified`.
    """
    from wsinuc.workflows.reclassify.write import WriteConfig, write_classified

    own_files.check_folder(out.parent)
    try:
        out.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create {out.parent}: {error.strerror or error}") from error
    config = WriteConfig(overwrite=True, slide=slide)
    try:
        return write_classified(learned.source, learned.classifier, out, config, about=learned.about, tell=tell).counts
    except BaseException:
        _remove_empty(out.parent)
        raise


def check_replaceable(result: Path, out: Path) -> None:
    """Raise OutputError unless ``out`` is a result with learned classes of the same run as ``result``."""
    own_files.check_folder(out)
    try:
        is_ours = "classified" in read_made(out).content and provenance(out).run_id == provenance(result).run_id
    except (DamageError, OutputError, OSError):
        is_ours = False
    if not is_ours:
        raise OutputError(f"{out} was not made of this result by learning, so it is not replaced: move it away")


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
