"""One's own images in ``images/``, described by ``manifest.csv``: what the layouts for one's own folders share.

The manifest has one line per image: ``name`` (the file name without its extension), then any attributes as text.
Without it the images are those in the folder, and nothing but their names is known.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from wsinuc.datasets.base import Layout, Row
from wsinuc.datasets.files import IMAGE_SUFFIXES, by_stem, read_table
from wsinuc.errors import DataError


class ManifestLayout(Layout):
    """A folder with ``images/``; subclasses say what is annotated."""

    suffixes: ClassVar[tuple[str, ...]] = IMAGE_SUFFIXES
    """Endings of the files in ``images/`` that count as images."""

    def scan(self) -> tuple[Row, ...]:
        if (self.path / "manifest.csv").is_file():
            return read_manifest(self.path / "manifest.csv")
        return tuple({"name": name} for name in self._images)

    def image_path(self, name: str) -> Path:
        """The file of an image; of one that is missing the likeliest, whose reading then says so."""
        return self._images.get(name, self.path / "images" / f"{name}.png")

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_stem(self.path / "images", self.suffixes)


def read_manifest(path: Path) -> tuple[Row, ...]:
    """The images of a ``manifest.csv`` with what is known of them, in its order.

    Raises
    ------
    DataError
        The table is damaged, or a name is missing, stands twice, or is no plain file name.
    """
    rows = read_table(path, ("name",))
    if not rows:
        raise DataError(f"{path} must have a header with a column 'name' and one line per image")
    names = [row["name"] for row in rows]
    for name in names:
        # A path could lead out of the data set.
        if not name or Path(name).name != name:
            raise DataError(f"{path}: a name must be a plain file name without its extension, got {name!r}")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"{path}: each name may stand once, got {name!r} twice")
    return rows
