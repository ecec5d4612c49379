"""Which images of a data set go to which of several parts, by their attributes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wsinuc import arguments
from wsinuc.datasets.labelled_image import Row
from wsinuc.errors import ConfigError, DataError


def share_out(
    rows: Sequence[Row],
    fractions: Mapping[str, float],
    *,
    stratify: str | None,
    group: str | None,
    seed: int,
    source: str,
) -> dict[str, list[int]]:
    """Positions of the images of each part, ascending.

    Parameters
    ----------
    fractions
        Part -> its share of the images; what is missing to 1 is left out.
    stratify
        Attribute whose values are spread over the parts as over the whole set.
    group
        Attribute whose images stay together; images without a value stand alone.
    source
        What messages call the data set.

    Raises
    ------
    ConfigError
        The fractions are no shares of a whole.
    DataError
        An attribute is unknown, or a part would be empty.

    Examples
    --------
    >>> rows = [{"name": str(i), "patient": str(i // 2)} for i in range(6)]
    >>> parts = share_out(rows, {"a": 2 / 3, "b": 1 / 3}, stratify=None, group="patient", seed=0, source="set")
    >>> [len(indices) for indices in parts.values()]
    [4, 2]
    """
    for name, share in fractions.items():
        arguments.number(f"the share of {name}", share)
    # Written so that nan is refused, too.
    if not fractions or not min(fractions.values()) > 0 or not sum(fractions.values()) <= 1 + 1e-9:
        shown = ", ".join(f"{name}={share:g}" for name, share in fractions.items())
        raise ConfigError(f"parts need shares above 0 that add up to 1 at most, got {shown or 'none'}")
    for attribute in (stratify, group):
        if attribute is not None and attribute not in rows[0]:
            raise DataError(f"the images of {source} have no {attribute!r}; they have {', '.join(rows[0])}")
    together: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        # No attribute holds a NUL, so images that stand alone share their key with none.
        together.setdefault((group and row[group]) or f"\0{i}", []).append(i)
    strata = [row[stratify] if stratify else "" for row in rows]
    assigned = _assign(list(together.values()), strata, fractions, seed)
    for name, indices in assigned.items():
        if not indices:
            if group:
                what = f"{len(together)} values of {group}"
            else:
                what = f"{len(rows)} images"
            raise DataError(f"part {name!r} would be empty: {what} cannot be divided like that; choose other shares")
    return {name: sorted(indices) for name, indices in assigned.items()}


def _assign(
    units: list[list[int]], strata: Sequence[str], fractions: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Give each unit to the part that lacks most, large units first; what no part wants goes to none."""
    names = [*fractions, None]
    shares = np.array([*fractions.values(), max(0.0, 1 - sum(fractions.values()))])
    values = sorted(set(strata))
    number = np.array([values.index(value) for value in strata])
    # Images that each part lacks of each stratum, (parts, strata).
    lacking = shares[:, None] * np.bincount(number, minlength=len(values))
    order = np.random.default_rng(seed).permutation(len(units))
    members: dict[str | None, list[int]] = {name: [] for name in names}
    # Large units first, while there is room for them everywhere; a stable sort keeps chance among equals.
    for i in sorted(order.tolist(), key=lambda i: -len(units[i])):
        images = np.bincount(number[units[i]], minlength=len(values))
        # The part as a whole counts too: strata too small to be divided would all go to the largest part.
        need = lacking @ images / images.sum() + lacking.sum(axis=1)
        part = int(np.where(shares > 0, need, -np.inf).argmax())
        lacking[part] -= images
        members[names[part]] += units[i]
    return {name: members[name] for name in fractions}
