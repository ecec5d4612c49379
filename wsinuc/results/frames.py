"""The Arrow table of nuclei as pandas and geopandas have tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsinuc.exports.extras import require
from wsinuc.nuclei.columns import GEOMETRY, flat_columns, geometry_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from geopandas import GeoDataFrame
    from pandas import DataFrame


def to_pandas(table: pa.Table) -> DataFrame:
    """Numbers and texts of the table as a DataFrame, one row per nucleus; polygons are left out.

    Raises
    ------
    ConfigError
        Pandas is not installed.
    """
    require("pandas", "geopandas", "to_pandas")
    return table.select(flat_columns(table.schema)).to_pandas()


def to_geopandas(table: pa.Table) -> GeoDataFrame:
    """The table as a GeoDataFrame of polygons in level-0 pixels (x, y).

    Raises
    ------
    ConfigError
        Geopandas is not installed.
    """
    geopandas = require("geopandas", "geopandas", "to_geopandas")
    names = geometry_columns(table.schema)
    polygons = {name: geopandas.GeoSeries.from_wkb(table[name].to_numpy()) for name in names}
    frame = to_pandas(table).assign(**polygons)
    return geopandas.GeoDataFrame(frame, geometry=GEOMETRY)
