"""Classes of all nuclei learned from the labels, by the function that ``wsinuc classify`` is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.workflows.view.table import NucleiTable


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned, applied to all nuclei of a table."""

    names: tuple[str, ...]
    classes: NDArray[np.uint8]
    """(n,) position of each nucleus' class among ``names``."""
    doubt: NDArray[np.float32]
    """(n,) 1 minus the probability of that class."""
    score: float | None
    """Cross-validated balanced accuracy; None where there are too few labels to measure it."""
    labels: int
    """Labels that it was learned from."""

    def report(self) -> dict[str, Any]:
        """For the page."""
        return {"score": self.score, "labels": self.labels, "names": list(self.names)}


def learn(table: NucleiTable, labels: Path) -> Learned:
    """Learn classes from a file of labels, and apply them to every nucleus of a table; nothing is written."""
    raise ConfigError("learning classes from labels is not part of this version")
