"""The columns of the table of nuclei in Arrow: GeoParquet that geopandas, DuckDB, polars and R read as it lies.

==========================  ==========================================================================
id                          int64
uuid                        name of the nucleus in GeoJSON and in QuPath; in parts of a result
y, x                        centroid in level-0 pixels
y_px, x_px                  the same in view pixels, exactly as measured
y_um, x_um                  the same in um
class                       name, dictionary-encoded
probability, disagreement   0 to 1
probability_<class>         one column per class
area_px                     pixels of the view
area_um2, ...               measurements, units in the names
bbox                        xmin, ymin, xmax, ymax in level-0 pixels, by which readers skip what is far
geometry                    polygon (WKB) of (x, y) in level-0 pixels, along the edges of view pixels
cell_geometry               the same of its cell, where cells were grown
==========================  ==========================================================================

Two keys of the metadata hold JSON. ``geo`` is what GeoParquet 1.1 asks for: polygons without a
coordinate reference system, because a slide lies nowhere on the globe. ``wsinuc`` has format version,
frame, classes with colours, measurements, units, and of numbered parts the run (``run_id``) and where
QuPath's coordinates begin (``origin_yx``); a hash over the rest seals it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsinuc.nuclei.measured_names import units_of
from wsinuc.nuclei.table import Frame, Nuclei
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.nuclei.wkb import bounds, from_wkb, to_wkb

VERSION = 2
OUTLINE_VERSION = 1
"""The version whose tables hold outlines in view pixels (``outline``) instead of polygons."""
KEY = b"wsinuc"
GEO = b"geo"
GEOMETRY = "geometry"
CELL_GEOMETRY = "cell_geometry"
BBOX = "bbox"
UNITS = {
    "y": "level-0 px",
    "x": "level-0 px",
    "y_px": "view px",
    "x_px": "view px",
    "y_um": "um",
    "x_um": "um",
    "area_px": "view px",
    "bbox": "level-0 px",
}
_POLYGONS = {
    "encoding": "WKB",
    "geometry_types": ["Polygon"],
    # Null is "unknown"; without the key a reader has to take coordinates for degrees.
    "crs": None,
    "edges": "planar",
    "orientation": "counterclockwise",
}
"""What GeoParquet asks of a column of polygons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which run over which slide numbered the nuclei of a table."""

    run_id: str
    """Names the run; with a nucleus' id it gives the nucleus' UUID."""
    origin_yx: tuple[float, float] | None
    """(y, x) of QuPath's image origin in level-0 pixels: ``Slide.origin``; None where an older result does not say."""


def to_arrow(nuclei: Nuclei, provenance: Provenance | None = None) -> pa.Table:
    """Nuclei as an Arrow table with the columns of this module.

    Parameters
    ----------
    nuclei
        Nuclei of one slide.
    provenance
        The run that numbered them; None, for nuclei without final ids, leaves the column ``uuid`` out.
    """
    columns = _plain_columns(nuclei, provenance)
    rings = (nuclei.outlines, nuclei.offsets, nuclei.frame.downsample)
    sides = bounds(*rings)
    columns[BBOX] = pa.StructArray.from_arrays([pa.array(values) for values in sides.values()], list(sides))
    columns[GEOMETRY] = to_wkb(*rings)
    if nuclei.cell_outlines is not None and nuclei.cell_offsets is not None:
        columns[CELL_GEOMETRY] = to_wkb(nuclei.cell_outlines, nuclei.cell_offsets, nuclei.frame.downsample)
    table = pa.table(columns)
    return table.replace_schema_metadata(_metadata(nuclei, provenance, geometry_columns(table.schema)))


def flat_table(nuclei: Nuclei) -> pa.Table:
    """The columns of `to_arrow` that are numbers or text, without the UUIDs, and the same metadata."""
    table = pa.table(_plain_columns(nuclei, None))
    return table.replace_schema_metadata(_metadata(nuclei, None, []))


def _plain_columns(nuclei: Nuclei, provenance: Provenance | None) -> dict[str, Any]:
    """Columns of numbers and text by name."""
    level0 = nuclei.level0_centroids()
    view = nuclei.centroids
    columns: dict[str, Any] = {"id": nuclei.ids}
    if provenance is not None:
        columns["uuid"] = pa.array(nucleus_uuids(provenance.run_id, nuclei.ids), pa.string())
    columns |= {
        "y": level0[:, 0],
        "x": level0[:, 1],
        "y_px": view[:, 0],
        "x_px": view[:, 1],
        "y_um": view[:, 0] * nuclei.frame.mpp,
        "x_um": view[:, 1] * nuclei.frame.mpp,
        "class": _class_column(nuclei),
        "probability": nuclei.probabilities,
        "disagreement": nuclei.disagreements,
    }
    columns |= {f"probability_{name}": nuclei.class_probabilities[:, i] for i, name in enumerate(nuclei.class_names)}
    return columns | {"area_px": nuclei.areas_px, **nuclei.measurements}


def from_arrow(table: pa.Table, about: dict[str, Any]) -> Nuclei:
    """The nuclei of a table, exactly as `to_arrow` was given them.

    Parameters
    ----------
    table
        Columns of this module, or of a table of ``OUTLINE_VERSION``.
    about
        Its header, the content of the key ``wsinuc``.

    Raises
    ------
    LookupError, ValueError, AttributeError, TypeError, ArithmeticError, pyarrow.ArrowException
        Table or header are damaged.
    """
    names = tuple(c["name"] for c in about["classes"])
    frame = Frame(mpp=about["frame"]["mpp"], downsample=tuple(about["frame"]["downsample"]))

    def column(name: str) -> NDArray[Any]:
        return np.array(table[name].to_numpy())  # Arrow's own memory is read-only

    outlines, offsets = outlines_of(table, about)
    cell_outlines = None
    cell_offsets = None
    if about.get("cells", False):
        cell_outlines, cell_offsets = from_wkb(table[CELL_GEOMETRY], frame.downsample)
    # NumPy stacks no empty list.
    probabilities = np.zeros((len(table), 0), np.float32)
    if names:
        probabilities = np.stack([column(f"probability_{name}") for name in names], axis=1)
    return Nuclei(
        frame=frame,
        class_names=names,
        class_colors=tuple(tuple(c["color"]) for c in about["classes"]),
        ids=column("id"),
        centroids=np.stack([column("y_px"), column("x_px")], axis=1),
        areas_px=column("area_px"),
        outlines=outlines,
        offsets=offsets,
        cell_outlines=cell_outlines,
        cell_offsets=cell_offsets,
        classes=_class_indices(table["class"], names),
        class_probabilities=probabilities,
        probabilities=column("probability"),
        disagreements=column("disagreement"),
        measurements={name: column(name) for name in about["measurements"]},
    )


def outlines_of(table: pa.Table, about: dict[str, Any]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Outlines and offsets of a table that has the column of `shape_column`; raises as `from_arrow` does."""
    if about["version"] == OUTLINE_VERSION:
        return _outline_column(table["outline"])
    y, x = about["frame"]["downsample"]
    return from_wkb(table[GEOMETRY], (y, x))


def class_indices(table: pa.Table, about: dict[str, Any]) -> NDArray[np.uint8]:
    """Of each nucleus the position of its class in the header; raises as `from_arrow` does."""
    return _class_indices(table["class"], tuple(c["name"] for c in about["classes"]))


def shape_column(about: dict[str, Any]) -> str:
    """Name of the column that has the outlines."""
    if about["version"] == OUTLINE_VERSION:
        return "outline"
    return GEOMETRY


def read_columns(about: dict[str, Any]) -> list[str]:
    """Names of the columns that `from_arrow` takes; the others follow from these."""
    shape = shape_column(about)
    probabilities = [f"probability_{c['name']}" for c in about["classes"]]
    own = ["id", "y_px", "x_px", "class", "probability", "disagreement", *probabilities, "area_px"]
    cells = [CELL_GEOMETRY] if about.get("cells", False) else []
    return [*own, *about["measurements"], shape, *cells]


def check_columns(schema: pa.Schema, about: dict[str, Any]) -> None:
    """Raise LookupError or TypeError unless a table has the columns of `to_arrow`, with their classes and polygons."""
    missing = {*read_columns(about), "y", "x", "y_um", "x_um", BBOX} - set(schema.names)
    if missing:
        raise LookupError(f"without {', '.join(sorted(missing))}")
    for name, kind in (("class", pa.dictionary(pa.int32(), pa.string())), (GEOMETRY, pa.binary())):
        if schema.field(name).type != kind:
            raise TypeError(f"{name} is {schema.field(name).type}, not {kind}")


def geometry_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of polygons."""
    return [field.name for field in schema if pa.types.is_binary(field.type)]


def flat_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of numbers and text: what a table without polygons holds."""
    return [field.name for field in schema if not (pa.types.is_binary(field.type) or pa.types.is_nested(field.type))]


def provenance_of(about: dict[str, Any]) -> Provenance | None:
    """The run that a header names; None where it names none."""
    if "run_id" not in about:
        return None
    y, x = about["origin_yx"]
    return Provenance(run_id=str(about["run_id"]), origin_yx=(float(y), float(x)))


def sealed(header: dict[str, Any]) -> dict[str, Any]:
    """The header with a hash over the rest of it."""
    rest = {key: value for key, value in header.items() if key != "seal"}
    return {**rest, "seal": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def _metadata(nuclei: Nuclei, provenance: Provenance | None, geometries: list[str]) -> dict[bytes, str]:
    header = {
        "version": VERSION,
        "frame": {"mpp": nuclei.frame.mpp, "downsample": nuclei.frame.downsample},
        "classes": [{"name": n, "color": c} for n, c in zip(nuclei.class_names, nuclei.class_colors, strict=True)],
        "measurements": list(nuclei.measurements),
        "cells": nuclei.cell_outlines is not None,
        "units": UNITS | units_of(nuclei.measurements) | dict.fromkeys(geometries, "level-0 px, (x, y)"),
    }
    if provenance is not None:
        header |= {"run_id": provenance.run_id, "origin_yx": provenance.origin_yx}
    return {KEY: json.dumps(sealed(header), sort_keys=True), GEO: json.dumps(_geo(geometries))}


def _geo(geometries: list[str]) -> dict[str, Any]:
    """The metadata of GeoParquet for columns of polygons, the boxes of the nuclei being those of ``geometry``."""
    boxes = {BBOX: {name: [BBOX, name] for name in ("xmin", "ymin", "xmax", "ymax")}}
    columns: dict[str, Any] = dict.fromkeys(geometries, _POLYGONS)
    columns[GEOMETRY] = {**_POLYGONS, "covering": boxes}
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": columns}


def _class_column(nuclei: Nuclei) -> pa.Array:
    if not nuclei.class_names:
        return pa.nulls(len(nuclei), pa.dictionary(pa.int32(), pa.string()))
    return pa.DictionaryArray.from_arrays(nuclei.classes.astype(np.int32), pa.array(nuclei.class_names, pa.string()))


def _outline_column(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Outlines and offsets of lists y, x, y, x, ... of corners in view pixels."""
    outline = column.combine_chunks()
    offsets = np.zeros(1, np.int64)
    if len(outline):
        # Lists count numbers, and offsets count corners of two.
        offsets = np.array(outline.offsets).astype(np.int64) // 2
    return np.array(outline.flatten()).reshape(-1, 2), offsets


def _class_indices(column: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Positions in ``names``; a reader may have given the dictionary another order."""
    if not names or len(column) == 0:
        return np.zeros(len(column), np.uint8)
    # A file of several row groups comes as chunks with a dictionary each.
    column = column.unify_dictionaries().combine_chunks()
    positions = np.array([names.index(name) for name in column.dictionary.to_pylist()], np.uint8)
    indices: NDArray[np.int32] = np.asarray(column.indices)
    return positions[indices]
