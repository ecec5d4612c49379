"""Maps as images that other programs measure in: float32, with the size of a pixel."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import numpy as np
import tifffile
import zarr
from zarr.codecs import ZstdCodec

from wsinuc.exports.atomic import appearing, replacing
from wsinuc.exports.ome_zarr.arrays import MAX_CHUNK
from wsinuc.exports.ome_zarr.metadata import describe_plane
from wsinuc.workflows.maps.nuclei_map import NucleiMap


def write_tiff(nuclei_map: NucleiMap, path: Path) -> None:
    """Write an OME-TIFF, which QuPath and Fiji open with the right pixel size. Raises OutputError."""
    um = nuclei_map.grid.um
    size = {f"PhysicalSize{axis}{what}": value for axis in "XY" for what, value in (("", um), ("Unit", "µm"))}
    with replacing(path) as stream:
        tifffile.imwrite(
            stream,
            nuclei_map.values,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            resolution=(1e4 / um, 1e4 / um),
            resolutionunit="CENTIMETER",
            software="wsinuc",
            metadata={
                "axes": "YX",
                "Name": nuclei_map.quantity.title,
                # Else a random one, and the same map would have other bytes each time.
                "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, _content(nuclei_map))),
                **size,
            },
        )


def _content(nuclei_map: NucleiMap) -> str:
    values = hashlib.sha256(nuclei_map.values.tobytes()).hexdigest()
    return f"{nuclei_map.quantity.title} {nuclei_map.grid.um} {nuclei_map.values.shape} {values}"


def write_container(nuclei_map: NucleiMap, path: Path) -> None:
    """Write an OME-Zarr 0.5, which napari opens as a layer. Raises OutputError."""
    values = nuclei_map.values
    with appearing(path) as partial:
        root = zarr.open_group(partial, mode="w-", zarr_format=3)
        array = root.create_array(
            "0",
            shape=values.shape,
            dtype=np.float32,
            chunks=(min(MAX_CHUNK, values.shape[0]), min(MAX_CHUNK, values.shape[1])),
            fill_value=np.nan,
            compressors=ZstdCodec(level=1, checksum=True),
            dimension_names=("y", "x"),
        )
        array[...] = values
        describe_plane(
            root,
            nuclei_map.quantity.title,
            um=nuclei_map.grid.um,
            labels_mpp=nuclei_map.grid.mpp,
            limits=nuclei_map.limits,
        )
