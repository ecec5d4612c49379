"""The table of nuclei as AnnData, for scanpy, squidpy and whatever else builds on it.

====================================  ================================================================
``X``                                 measurements, float32; their names are ``var_names``
``obs_names``                         UUID of each nucleus, as in GeoJSON and in QuPath
``obs``                               id, class, probability, disagreement, probability of each class,
                                      area_px; y and x of the centroid in level-0 pixels
``obsm["spatial"]``                   x, y of the centroid in um
``obsp["spatial_connectivities"]``    neighbours (``neighbours``), where squidpy puts them
``obsp["spatial_distances"]``         their distances in um
``uns["class_colors"]``               colours that scanpy and squidpy draw classes in
``uns["wsinuc"]``                     version, slide, run, um and level-0 pixels per view pixel
====================================  ================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import wsinuc
from wsinuc.errors import ConfigError, OutputError
from wsinuc.exports.atomic import appearing
from wsinuc.exports.extras import quiet, require
from wsinuc.exports.scverse.neighbours import neighbour_graph
from wsinuc.exports.scverse.whole import WholeResult, read_whole
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.classes import hex_color
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.urls import PathLike, to_path

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import Categorical, DataFrame

NEIGHBOURS_UM = 50.0
"""Longest distance in um of two neighbours; a longer edge crosses a lumen, a vessel or the glass between two pieces."""


def to_anndata(result: PathLike, *, neighbours_um: float = NEIGHBOURS_UM, where: str | Sequence[str] = ()) -> AnnData:
    """The nuclei of a finished result as AnnData, in memory (making it takes about 1.5 kB per nucleus).

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``).
    neighbours_um
        Longest distance of two neighbours in um, greater than 0; infinity keeps all edges of the triangulation.
    where
        Conditions on the nuclei, see `wsinuc.store.conditions`; neighbours are those among the nuclei that are kept.

    Raises
    ------
    ConfigError
        The package anndata is not installed, ``neighbours_um`` is out of range, or a condition asks what the table
        does not have.
    DamageError, OutputError, DataError
        The result cannot be read.
    """
    require("anndata", "anndata", "AnnData")
    check_reach(neighbours_um)
    return build_table(read_whole(result, where=where), neighbours_um)


def write_anndata(
    result: PathLike,
    out: PathLike,
    *,
    neighbours_um: float = NEIGHBOURS_UM,
    where: str | Sequence[str] = (),
) -> None:
    """Write the nuclei of a finished result as AnnData; the suffix of ``out`` decides the form.

    Parameters
    ----------
    result, neighbours_um, where
        As `to_anndata` takes them.
    out
        ``.h5ad``, a file that replaces what lies there, or ``.zarr``, a folder that must not exist.

    Raises
    ------
    OutputError
        The suffix is neither, or ``out`` cannot be written.
    ConfigError, DamageError, DataError
        As `to_anndata` raises them.
    """
    out = to_path(out)
    if out.suffix.lower() not in (".h5ad", ".zarr"):
        raise OutputError(f"AnnData is written as .h5ad or .zarr, not {out.name}: choose one of these suffixes")
    with appearing(out) as partial:
        table = to_anndata(result, neighbours_um=neighbours_um, where=where)
        if out.suffix.lower() == ".zarr":
            with quiet():
                table.write_zarr(partial)
        else:
            # Every HDF5 library reads gzip, and the lowest level takes a fifth of the time of the default.
            table.write_h5ad(partial, compression="gzip", compression_opts=1)


def check_reach(neighbours_um: float) -> None:
    """Raise ConfigError unless the distance of neighbours is greater than 0."""
    if not neighbours_um > 0:
        raise ConfigError(f"the longest distance of two neighbours is {neighbours_um:g} um, expected more than 0")


def build_table(whole: WholeResult, neighbours_um: float) -> AnnData:
    """AnnData of nuclei in memory, as the module describes it."""
    from anndata import AnnData

    nuclei = whole.nuclei
    # (y, x) in the table, (x, y) in scverse.
    spatial = nuclei.centroids[:, ::-1] * nuclei.frame.mpp
    connectivities, distances = neighbour_graph(spatial, neighbours_um)
    table = AnnData(
        X=_measurements(nuclei),
        obs=_observations(whole),
        obsm={"spatial": spatial},
        obsp={"spatial_connectivities": connectivities, "spatial_distances": distances},
        uns={
            "class_colors": [hex_color(color) for color in nuclei.class_colors],
            "spatial_neighbors": _graph_description(neighbours_um),
            "wsinuc": _provenance(whole),
        },
    )
    table.var_names = list(nuclei.measurements)
    return table


def _measurements(nuclei: Nuclei) -> Any:
    """Measurements, float32 ``(n, measurements)``."""
    values = np.zeros((len(nuclei), len(nuclei.measurements)), np.float32)
    for column, measurement in enumerate(nuclei.measurements.values()):
        values[:, column] = measurement
    return values


def _observations(whole: WholeResult) -> DataFrame:
    import pandas as pd

    nuclei = whole.nuclei
    level0 = nuclei.level0_centroids()
    columns: dict[str, Any] = {
        "id": nuclei.ids,
        "class": _classes(nuclei),
        "probability": nuclei.probabilities,
        "disagreement": nuclei.disagreements,
    }
    columns |= dict(zip(probability_columns(nuclei.class_names), nuclei.class_probabilities.T, strict=True))
    columns |= {"area_px": nuclei.areas_px, "y": level0[:, 0], "x": level0[:, 1]}
    return pd.DataFrame(columns, index=pd.Index(nucleus_uuids(whole.run_id, nuclei.ids), dtype=object))


def probability_columns(class_names: Iterable[str]) -> list[str]:
    """Names of the columns of classes' probabilities: a slash, which a Zarr store takes for a folder, is an underscore.

    Examples
    --------
    >>> probability_columns(["Tumour", "CD3/CD8", "CD3_CD8"])
    ['probability_Tumour', 'probability_CD3_CD8', 'probability_CD3_CD8_']
    """
    columns: list[str] = []
    for name in class_names:
        column = f"probability_{name.replace('/', '_')}"
        while column in columns:
            column += "_"
        columns.append(column)
    return columns


def _classes(nuclei: Nuclei) -> Categorical:
    """Class of each nucleus; none where the model has no classes."""
    import pandas as pd

    codes = nuclei.classes.astype(np.int32)
    if not nuclei.class_names:
        codes = np.full(len(nuclei), -1)
    return pd.Categorical.from_codes(codes, list(nuclei.class_names))


def _graph_description(neighbours_um: float) -> dict[str, Any]:
    """What squidpy notes of a graph that it has built."""
    return {
        "connectivities_key": "spatial_connectivities",
        "distances_key": "spatial_distances",
        "params": {"coord_type": "generic", "delaunay": True, "radius": [0.0, float(neighbours_um)]},
    }


def _provenance(whole: WholeResult) -> dict[str, Any]:
    frame = whole.nuclei.frame
    return {
        "version": wsinuc.__version__,
        "slide": whole.slide,
        "run_id": whole.run_id,
        "um_per_px": frame.mpp,
        "level0_px_per_px_yx": list(frame.downsample),
        **({"where": list(whole.where)} if whole.where else {}),
    }
