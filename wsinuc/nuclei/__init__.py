"""The table of nuclei: what it holds (`table`), how it is measured (`measure`, `shape`) and stored (`parquet`)."""

from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.parquet import read_nuclei, write_nuclei
from wsinuc.nuclei.table import MEASUREMENTS, Frame, Nuclei, concatenate, empty

__all__ = ["MEASUREMENTS", "Frame", "Nuclei", "concatenate", "empty", "measure", "read_nuclei", "write_nuclei"]
