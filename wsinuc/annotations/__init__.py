"""Annotations from outside: GeoJSON as QuPath and other programs write it.

``read_features`` takes a ``.geojson`` or ``.json`` file, either of them with ``.gz``, or QuPath's
``.zip``, and yields one ``Feature`` after the other: outline or points, class, name, type and id.
Files are read as a stream, so the memory taken is that of one feature, however large the file is.

Coordinates count from the corner of the image that the annotations were drawn on. For a slide that
is ``Slide.origin``: QuPath cuts slides with bounds to their scanned part. Read
``features`` first.
"""

from wsinuc.annotations.coordinates import Coordinates
from wsinuc.annotations.features import Feature, read_features
from wsinuc.annotations.files import SUFFIXES, is_geojson

__all__ = ["SUFFIXES", "Coordinates", "Feature", "is_geojson", "read_features"]
