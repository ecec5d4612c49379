"""From which probability a pixel, and from which area an instance, is a nucleus: a model's own cutoffs, or others.

A model's file says both, as they suited the images that it was measured on. A user who sees that a stain is
paler, or specks smaller, than there sets others; what the network says of a pixel stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, runtime_checkable

from wsinuc.config import check_min_area, check_threshold
from wsinuc.errors import ConfigError

if TYPE_CHECKING:
    from wsinuc.separation.settings import WatershedSettings

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """What separates nuclei from background; see `wsinuc.separation.settings.WatershedSettings`.

    Raises
    ------
    ConfigError
        A number is out of its range.

    Examples
    --------
    >>> from wsinuc.separation.settings import WatershedSettings
    >>> own = Cutoffs.of(WatershedSettings(mpp=0.25))
    >>> own
    Cutoffs(threshold=0.5, min_area_um2=5.0)
    >>> replace(own, threshold=0.7).changes(own)
    {'threshold': 0.7}
    """

    threshold: float
    """Foreground probability from which a pixel belongs to a nucleus: above 0, at most 1."""
    min_area_um2: float
    """Smaller instances are no nuclei, um2."""

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_min_area(self.min_area_um2)

    @classmethod
    def of(cls, settings: WatershedSettings) -> Cutoffs:
        """Those of the settings of a separation."""
        return cls(threshold=settings.foreground_threshold, min_area_um2=settings.min_area_um2)

    def within(self, settings: WatershedSettings) -> WatershedSettings:
        """The settings of a separation with these cutoffs."""
        return replace(settings, foreground_threshold=self.threshold, min_area_um2=self.min_area_um2)

    def changes(self, own: Cutoffs) -> dict[str, float]:
        """What is other than in ``own``, by name."""
        names = ("threshold", "min_area_um2")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(own, name)}


@runtime_checkable
class Adjustable(Protocol):
    """A model that can be given other cutoffs than its file says; all of wsinuc's are."""

    @property
    def cutoffs(self) -> Cutoffs | None:
        """Those in force; None where the model inside has none that are known."""
        ...

    @property
    def own_cutoffs(self) -> Cutoffs | None:
        """Those of its file, which its probabilities are calibrated for."""
        ...

    def with_cutoffs(self, cutoffs: Cutoffs) -> Self:
        """A copy on the same weights with other cutoffs."""
        ...


def with_cutoffs(model: Model, *, threshold: float | None = None, min_area_um2: float | None = None) -> Model:
    """A model with other cutoffs; itself where they are those that it has.

    Parameters
    ----------
    model
        A segmenter, or the outline of one.
    threshold, min_area_um2
        As in `Cutoffs`; None leaves what the model has.

    Raises
    ------
    ConfigError
        A number is out of its range, or is given for a segmenter of another make.
    """
    check_threshold(threshold)
    check_min_area(min_area_um2)
    given = {"threshold": threshold, "min_area_um2": min_area_um2}
    # As floats: 10 and 10.0 are one setting, and must give one identity.
    wanted = {name: float(value) for name, value in given.items() if value is not None}
    if not wanted:
        return model
    if not isinstance(model, Adjustable) or model.cutoffs is None:
        raise ConfigError(
            f"{type(model).__name__} is no segmenter of wsinuc's, so nothing is known of its "
            f"{' and '.join(wanted)}: set that in the segmenter itself"
        )
    cutoffs = replace(model.cutoffs, **wanted)
    if cutoffs == model.cutoffs:
        return model
    return model.with_cutoffs(cutoffs)


def changed_cutoffs(model: object) -> dict[str, float]:
    """Those cutoffs of a model that are not its own, by name; empty where all are, or nothing is known of them."""
    if not isinstance(model, Adjustable) or model.cutoffs is None or model.own_cutoffs is None:
        return {}
    return model.cutoffs.changes(model.own_cutoffs)
