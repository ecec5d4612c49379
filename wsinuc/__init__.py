"""wsinuc: from a whole-slide image to a table of nuclei."""

__version__ = "0.1.0"
