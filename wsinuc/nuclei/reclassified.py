"""A part of the table with other classes: everything else keeps its bytes.

The classes that segmentation gave stay as the column `ORIGINAL_CLASS`, through any number of changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.columns import KEY, UNITS, sealed
from wsinuc.nuclei.measured_names import BY_CLASS, measurement, units_of

ORIGINAL_CLASS = "original_class"
"""Column of the classes that a nucleus had when it was segmented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClasses:
    """Classes of the nuclei of one part."""

    classes: Sequence[NucleusClass]
    """What a nucleus can be."""
    indices: NDArray[np.uint8]
    """(n,) into ``classes``."""
    probabilities: NDArray[np.float32]
    """(n, classes)"""
    neighbours: Mapping[str, NDArray[np.float32]]
    """The group ``neighbours`` by these classes; empty where the table does not have it."""


def depends_on_classes(column: str) -> bool:
    """Whether a measurement is one of a class of neighbours, such as ``count_25um_Tumour``.

    Examples
    --------
    >>> depends_on_classes("count_25um_Tumour"), depends_on_classes("count_25um")
    (True, False)
    """
    known = measurement(column)
    return known is not None and column not in BY_CLASS and any(column.startswith(f"{name}_") for name in BY_CLASS)


def with_classes(part: pa.Table, new: NewClasses) -> pa.Table:
    """The part with these classes and their probabilities, and measurements of neighbours by them."""
    about: dict[str, Any] = json.loads(part.schema.metadata[KEY])
    old = {f"probability_{each['name']}" for each in about["classes"]}
    kept = [name for name in about["measurements"] if not depends_on_classes(name) and name not in new.neighbours]
    dropped = old | (set(about["measurements"]) - set(kept))
    names = [each.name for each in new.classes]
    columns: dict[str, Any] = {}
    for name in part.column_names:
        if name == "class":
            columns[name] = _dictionary(new.indices, names)
        elif name == "disagreement":
            columns[name] = part[name]
            columns |= {f"probability_{each}": new.probabilities[:, k] for k, each in enumerate(names)}
        # Measurements of neighbours stand where they stood: behind all others.
        elif name == "bbox":
            columns |= dict(new.neighbours)
            columns[name] = part[name]
        elif name not in dropped:
            columns[name] = part[name]
    columns.setdefault(ORIGINAL_CLASS, part["class"])
    measurements = [*kept, *new.neighbours]
    header = {
        **about,
        "classes": [{"name": each.name, "color": list(each.color)} for each in new.classes],
        "measurements": measurements,
        "units": {
            **{name: unit for name, unit in about["units"].items() if name in UNITS or name in columns},
            **units_of(measurements),
        },
    }
    metadata = {**part.schema.metadata, KEY: json.dumps(sealed(header), sort_keys=True)}
    return pa.table(columns).replace_schema_metadata(metadata)


def _dictionary(indices: NDArray[np.uint8], names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(indices.astype(np.int32), pa.array(names, pa.string()))
