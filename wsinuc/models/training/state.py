"""What a training needs to go on where it stopped, as one file, and its log of one JSON object per line.

The state is complete: weights, optimiser, averaged weights, the best score so far. Random numbers
are not in it, because every draw of a training is derived from the number of its step. It also
holds the settings that the training was started with, so that a run with others is refused instead
of continued as something that neither of them is.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsinuc import durable
from wsinuc.errors import CheckpointError, DataError, OutputError
from wsinuc.limits import parse_json
from wsinuc.own_files import append

Settings = Mapping[str, Any]
"""JSON types by dotted name."""
DATA = "data"
"""Name of the setting that says what is learned from."""


@dataclass(slots=True)
class TrainingState:
    """A training in memory; loaded and saved in place."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    """Moving average of the weights."""
    settings: Settings
    step: int = 0
    """Steps done."""
    best: float = float("inf")
    """Lowest held-out loss so far."""

    def save(self, path: Path) -> None:
        """Write atomically; raises OutputError when the disk is full or not writable."""
        content = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "best": self.best,
            "settings": json.dumps(self.settings, sort_keys=True),
        }
        try:
            with durable.replacing(path) as file:
                torch.save(content, file)
        except (OSError, RuntimeError) as error:  # torch's writer calls a full disk a RuntimeError
            raise OutputError(f"cannot write the training state {path} ({str(error).splitlines()[0]})") from error

    def load(self, path: Path) -> None:
        """Continue from a file if there is one.

        Raises
        ------
        CheckpointError
            It is damaged, or the state of a training with other settings or another network.
        """
        if not path.exists():
            return
        try:
            # weights_only: a training state must not be able to run code either.
            saved = torch.load(path, weights_only=True, map_location=next(self.model.parameters()).device)
            settings = json.loads(saved.get("settings", "{}"))
        except Exception as error:  # torch has many words for a file that is none of its own
            raise CheckpointError(
                f"{path} is damaged or no training state ({_first_line(error)}): delete it to start anew, "
                "or choose another output"
            ) from error
        self._compare(settings, path)
        try:
            self.model.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
            for name, value in saved["average"].items():
                self.average[name].copy_(value)
            self.step = int(saved["step"])
            self.best = float(saved.get("best", "inf"))
            self._check_numbers()
        except Exception as error:
            raise CheckpointError(
                f"{path} is the state of another training ({_first_line(error)}): delete it to start anew, "
                "or choose another output"
            ) from error

    def _check_numbers(self) -> None:
        """Raise ValueError for what no training has: weights that are no numbers, fewer than no steps."""
        if self.step < 0 or math.isnan(self.best):
            raise ValueError(f"step {self.step} and best {self.best} are no figures of a training")
        for name, value in [*self.model.state_dict().items(), *self.average.items()]:
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} holds NaN or infinity")

    def _compare(self, saved: Settings, path: Path) -> None:
        """Raise CheckpointError naming the settings that differ; states without settings are older and pass."""
        # As the file has them: tuples become lists.
        known = json.loads(json.dumps(self.settings))
        # States of older versions have the precision among their settings: another machine may go on in another.
        names = (saved.keys() | known.keys()) - {"fit.bf16"}
        if DATA not in saved:
            # States of older versions do not say it.
            names -= {DATA}
        differing = [name for name in sorted(names) if saved.get(name) != known.get(name)]
        if saved and known and differing:
            shown = "; ".join(f"{name} was {saved.get(name)}, now {known.get(name)}" for name in differing[:3])
            rest = " ..." if len(differing) > 3 else ""
            raise CheckpointError(
                f"{path} is the state of another training: {shown}{rest}. Run with the old settings to continue it, "
                "delete it to start anew, or choose another output"
            )


MAX_LINE = 1 << 16
"""Bytes of the longest line of a log that is read."""


def append_log(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line of figures; raises OutputError when the disk is full or not writable."""
    with _log_errors(path), append(path) as stream:
        stream.write((json.dumps(line) + "\n").encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a log, in order; none when there is no file."""
    if not path.exists():
        return []
    lines = []
    with path.open("rb") as file:
        for text in iter(lambda: file.readline(MAX_LINE), b""):
            with suppress(DataError):  # a killed run may leave half a line
                line = parse_json(text, str(path))
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    lines.append(line)
    return lines


def trim_log(path: Path, step: int) -> None:
    """Drop the lines after ``step``, and half a line at the end.

    A run that was killed is repeated from its last state, and logs them again; what it logs must not go on in the
    middle of a line. Raises OutputError when the disk is full or not writable.
    """
    lines = read_log(path)
    earlier = [line for line in lines if line["step"] <= step]
    if len(earlier) == len(lines) and _ends_with_line(path):
        return
    with _log_errors(path), durable.replacing(path) as stream:
        stream.writelines((json.dumps(line) + "\n").encode() for line in earlier)


def _ends_with_line(path: Path) -> bool:
    """Whether a log is empty, missing, or ends where a line does."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


@contextmanager
def _log_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write the log {path} ({error.strerror or error})") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
