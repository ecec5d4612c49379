"""Which nuclei of a table are kept: conditions on its columns, as users write them.

A condition is a column, a sign and a value: ``probability>=0.6``, ``area_um2<200``, ``class=Tumor,Stroma``. All
conditions must hold. Of several values with commas between them one is enough (quotes keep a value with commas
together), and so it is when a column is given twice with ``=``, as in the conditions on annotated images
(``patient=09,10``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wsinuc import arguments
from wsinuc.errors import ConfigError
from wsinuc.nuclei.columns import KEY, flat_columns, flat_table
from wsinuc.nuclei.table import Nuclei

_FORM = re.compile(r"\s*([^<>=!]+?)\s*(!=|<=|>=|=|<|>)(?![<>=])\s*(.+?)\s*", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
EXAMPLES = "probability>=0.6, area_um2<200 or class=Tumor,Stroma"


@dataclass(frozen=True, slots=True)
class Condition:
    """One column, one sign, and what stands behind it."""

    column: str
    sign: str
    """``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``."""
    values: tuple[str, ...]
    """One for a sign of order."""

    def holds(self, table: pa.Table) -> NDArray[np.bool_]:
        """(n,) for which rows it holds; not where a value is missing. Raises ConfigError where the table cannot say."""
        known = flat_columns(table.schema)
        if self.column not in known:
            raise ConfigError(f"the table has no column {self.column!r}: it has {', '.join(known)}")
        column = table[self.column]
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            found = self._of_numbers(column)
        else:
            found = self._of_text(column, table)
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)

    def _of_numbers(self, column: pa.ChunkedArray) -> Any:
        # In the precision of the column: 0.6 is not quite the 0.6 that a table of 32 bits holds.
        kind = column.type if pa.types.is_floating(column.type) else pa.float64()
        numbers = pa.array([self._number(value) for value in self.values], pa.float64()).cast(kind, safe=False)
        values = column.cast(kind)
        if self.sign in _ORDER:
            return _ORDER[self.sign](values, numbers[0])
        equal = pc.is_in(values, numbers)
        return equal if self.sign == "=" else pc.invert(equal)

    def _of_text(self, column: pa.ChunkedArray, table: pa.Table) -> Any:
        if self.sign in _ORDER:
            raise ConfigError(f"{self.column} is text, which is compared by = or !=, got {self.sign}")
        if self.column == "class":
            self._check_classes(table)
        equal = pc.is_in(column.cast(pa.string()), pa.array(self.values, pa.string()))
        return equal if self.sign == "=" else pc.invert(equal)

    def _check_classes(self, table: pa.Table) -> None:
        """Raise ConfigError for a class that the table does not know: a typing error would keep nothing."""
        names = [each["name"] for each in json.loads(table.schema.metadata[KEY])["classes"]]
        unknown = [value for value in self.values if value not in names]
        if unknown:
            raise ConfigError(
                f"the table has no class {unknown[0]!r}: it has {', '.join(map(arguments.quoted, names)) or 'none'}"
            )

    def _number(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(
                f"{self.column} is compared with a number with a decimal point, got {text!r}; of several conditions "
                "each is a --where of its own"
            )
        return number


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that must all hold; without any, all nuclei are kept.

    Examples
    --------
    >>> Conditions.parse(["probability >= 0.6", "class=Tumor", "class=Stroma"]).conditions
    (Condition(column='probability', sign='>=', values=('0.6',)), \
Condition(column='class', sign='=', values=('Tumor', 'Stroma')))
    """

    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, texts: str | Sequence[str]) -> Conditions:
        """The conditions that texts stand for; raises ConfigError for a text of another form."""
        if isinstance(texts, str):
            texts = (texts,)
        conditions: dict[tuple[str, str, int], Condition] = {}
        for number, text in enumerate(texts):
            condition = _parsed(arguments.text("a condition", text))
            # Only equal signs are brought together: two bounds of one column both hold.
            key = (condition.column, condition.sign, -1 if condition.sign == "=" else number)
            before = conditions.get(key)
            if before is not None:
                condition = Condition(condition.column, "=", (*before.values, *condition.values))
            conditions[key] = condition
        return cls(tuple(conditions.values()))

    @property
    def texts(self) -> tuple[str, ...]:
        """The conditions as people write them.

        Examples
        --------
        >>> Conditions.parse(["probability >= 0.6", "class=Tumor", "class=Stroma"]).texts
        ('probability>=0.6', 'class=Tumor,Stroma')
        """
        return tuple(
            f"{each.column}{each.sign}{','.join(map(arguments.quoted, each.values))}" for each in self.conditions
        )

    def holds(self, table: pa.Table) -> NDArray[np.bool_]:
        """(n,) for which rows of an Arrow table all of them hold; raises ConfigError where the table cannot say."""
        kept = np.ones(table.num_rows, np.bool_)
        for condition in self.conditions:
            kept &= condition.holds(table)
        return kept

    def of_tables(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Arrow tables with the rows that are kept; as they are without a condition."""
        for table in tables:
            yield table.filter(pa.array(self.holds(table))) if self.conditions else table

    def of_nuclei(self, nuclei: Nuclei) -> Nuclei:
        """The nuclei that are kept, with their ids; as they are without a condition."""
        if not self.conditions:
            return nuclei
        return nuclei.select(self.holds(flat_table(nuclei)))


def _parsed(text: str) -> Condition:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(f"a condition on nuclei looks like {EXAMPLES}, got {text!r}")
    column, sign, value = match.groups()
    if sign in _ORDER:
        return Condition(column, sign, (value.strip("'\""),))
    return Condition(column, sign, arguments.values(value))
