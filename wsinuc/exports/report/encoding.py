"""Pictures inside a page: JPEG as data URIs, together never larger than a page may be."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

LIMIT = 2_600_000
"""Bytes of all pictures of a page before they are written as text, which takes a third more."""
_QUALITIES = (88, 80, 70, 55, 40, 25, 10, 1)  # the first is what tissue needs; noise may need the last


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture as a page holds it."""

    uri: str
    width: int
    height: int
    """In pixels."""


def embed(pictures: Mapping[str, Image.Image], limit: int = LIMIT) -> dict[str, Embedded]:
    """All pictures at the best quality at which they fit together into ``limit`` bytes.

    Examples
    --------
    >>> embed({"white": Image.new("RGB", (8, 4), "white")})["white"].uri[:23]
    'data:image/jpeg;base64,'
    """
    for quality in _QUALITIES:
        encoded = {name: _jpeg(picture, quality) for name, picture in pictures.items()}
        if sum(map(len, encoded.values())) <= limit:
            break
    return {
        name: Embedded("data:image/jpeg;base64," + base64.b64encode(data).decode(), *pictures[name].size)
        for name, data in encoded.items()
    }


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    # Colours at the full resolution: at half of it thin outlines would fade.
    picture.save(stream, format="JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
