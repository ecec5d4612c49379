"""Images that nobody annotated, described by a table: pixels for `pretrain` and `distill`.

``images/NAME`` (PNG, JPEG or BMP) with ``manifest.csv``: ``name``, and what is known of each image, such as ``mpp``,
``organ`` and ``licence``. Without the table a folder of images is no data set, but those commands take it all the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsinuc.datasets.base import UNLABELLED, Annotation, Row
from wsinuc.datasets.files import read_image
from wsinuc.datasets.layouts.manifest import ManifestLayout

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""Endings of images that are read whole; a TIFF may be a slide, which the commands read by region."""
ANNOTATION = ("labels", "points", "csv")
"""Folders that other layouts read annotation from."""


class ImagesLayout(ManifestLayout):
    """Images without annotation; attributes from the manifest."""

    name = "images"
    expected = "images/NAME.png (or .jpg) and manifest.csv with a column 'name', without labels/ or points/"
    kind = UNLABELLED
    suffixes = SUFFIXES

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if not ((path / "images").is_dir() and (path / "manifest.csv").is_file()):
            return False
        if any((path / name).is_dir() for name in ANNOTATION):
            return False
        return any(file.suffix.lower() in SUFFIXES for file in (path / "images").iterdir())

    def read(self, row: Row) -> Annotation:
        pixels = read_image(self.image_path(row["name"]))
        return Annotation(image=pixels, labels=np.zeros(pixels.shape[:2], np.int32))
