"""What a map shows: the names that ``--of`` takes, their units, and what each nucleus adds to its square."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.nuclei import Nuclei

DENSITY = "density"
SHARE = "share"
_SCORES: dict[str, Callable[[Nuclei], NDArray[np.float32]]] = {
    "probability": lambda nuclei: nuclei.probabilities,
    "disagreement": lambda nuclei: nuclei.disagreements,
}
# Endings of the names of measurements, and how people write them.
_UNITS = (("_um2", "µm²"), ("_um", "µm"))


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is mapped, of which nuclei."""

    of: str
    """density, share, probability, disagreement, or the name of a measurement."""
    class_name: str | None = None
    """Only nuclei of this class; for ``share`` the class whose share it is; None for all nuclei."""
    where: tuple[str, ...] = ()
    """Conditions that nuclei must meet to be on the map at all, see `wsinuc.store.conditions`."""

    def __post_init__(self) -> None:
        if self.of == SHARE and self.class_name is None:
            raise ConfigError("a map of shares needs the class whose share it shows: give --class NAME")

    @property
    def title(self) -> str:
        """What the map shows, in words and units for people.

        Examples
        --------
        >>> Quantity("density").title, Quantity("share", "Tumor").title, Quantity("area_um2").title
        ('nuclei per mm²', 'share of Tumor', 'mean area (µm²)')
        >>> Quantity("density", where=("probability>=0.6",)).title
        'nuclei per mm² where probability>=0.6'
        """
        if not self.where:
            return self._plain_title
        return f"{self._plain_title} where {' and '.join(self.where)}"

    @property
    def _plain_title(self) -> str:
        if self.of == SHARE:
            return f"share of {self.class_name}"
        of_class = f" of {self.class_name}" if self.class_name else ""
        if self.of == DENSITY:
            return f"nuclei{of_class} per mm²"
        for ending, unit in _UNITS:
            if self.of.endswith(ending):
                return f"mean {_words(self.of.removesuffix(ending))}{of_class} ({unit})"
        return f"mean {_words(self.of)}{of_class}"

    def check(self, nuclei: Nuclei) -> None:
        """Raise ConfigError where a table has no such measurement or class."""
        known = (DENSITY, SHARE, *_SCORES, *nuclei.measurements)
        if self.of not in known:
            raise ConfigError(f"the table has no {self.of!r} to map: expected one of {', '.join(known)}")
        if self.class_name is not None and self.class_name not in nuclei.class_names:
            names = ", ".join(nuclei.class_names) or "no classes"
            raise ConfigError(f"the table has no class {self.class_name!r}: it has {names}")

    def counted(self, nuclei: Nuclei) -> NDArray[np.bool_]:
        """(n,) the nuclei that the map is about: of a share, those that it is a share of."""
        if self.class_name is None or self.of == SHARE:
            return np.ones(len(nuclei), np.bool_)
        return self._of_class(nuclei)

    def weights(self, nuclei: Nuclei) -> NDArray[np.float64]:
        """(n,) what each nucleus adds to its square's sum."""
        if self.of == DENSITY:
            return np.ones(len(nuclei))
        if self.of == SHARE:
            return self._of_class(nuclei).astype(np.float64)
        if self.of in _SCORES:
            return _SCORES[self.of](nuclei).astype(np.float64)
        return nuclei.measurements[self.of].astype(np.float64)

    def _of_class(self, nuclei: Nuclei) -> NDArray[np.bool_]:
        assert self.class_name is not None
        is_one: NDArray[np.bool_] = nuclei.classes == nuclei.class_names.index(self.class_name)
        return is_one


def _words(name: str) -> str:
    return name.replace("_", " ")
