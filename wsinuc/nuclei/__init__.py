"""The table of nuclei: what it holds (`table`), how it is measured (`measure`, `shape`) and stored
(`columns`, `parquet`).

`measured_names` lists what can be measured beyond that: of a block's pixels (`groups`), of what lies around a nucleus
(`neighbours`) and of the cell that is grown from it (`cells`).

``measure`` takes a compiler, which looking at results does without, so it is imported from its module. Arrow is
imported with the first table that is read or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsinuc.nuclei.table import MEASUREMENTS, Frame, Nuclei, concatenate, empty

if TYPE_CHECKING:
    from wsinuc.nuclei.parquet import read_nuclei, write_nuclei

__all__ = ["MEASUREMENTS", "Frame", "Nuclei", "concatenate", "empty", "read_nuclei", "write_nuclei"]


def __getattr__(name: str) -> Any:
    if name in ("read_nuclei", "write_nuclei"):
        from wsinuc.nuclei import parquet

        return getattr(parquet, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
