"""The table of nuclei: what it holds (`table`), how it is measured (`measure`, `shape`) and stored (`parquet`).

``measure`` takes a compiler, which looking at results does without, so it is imported from its module.
"""

from wsinuc.nuclei.parquet import read_nuclei, write_nuclei
from wsinuc.nuclei.table import MEASUREMENTS, Frame, Nuclei, concatenate, empty

__all__ = ["MEASUREMENTS", "Frame", "Nuclei", "concatenate", "empty", "read_nuclei", "write_nuclei"]
