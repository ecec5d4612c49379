"""Every parser of files from outside that the fuzz script tries, by name."""

from __future__ import annotations

import gzip

from helpers.fuzz import data, results
from helpers.fuzz import parsers as files

PARSERS: dict[str, files.Made] = {
    "TIFF": files.tiffs("tiff", "OME channels", "12 of 16 bits", "orientation 6", "palette", "strips", "JPEG", "CMYK"),
    "TIFF, any reader": files.tiffs("auto", "pyramid in SubIFDs", "BigTIFF", "big endian", "OME", "LZW", "JPEG 2000"),
    "PNG": files.images("png"),
    "JPEG": files.images("jpeg"),
    "DICOM": files.dicom,
    "VMS index": files.hamamatsu,
    "OME-XML": files.ome_xml,
    "Aperio XML": data.aperio_xml,
    "GeoJSON": files.geojson,
    "GeoJSON, gzip": files.packed_geojson(".geojson.gz", gzip.compress),
    "GeoJSON, zip": files.packed_geojson(".zip", files.zipped),
    "table of slides": files.slide_table,
    "table of a layout": files.layout_table,
    "manifest": data.own_folder("manifest.csv"),
    "table of classes": data.own_folder("classes.csv"),
    "classes of nuclei": data.own_folder("classes/a.csv"),
    "table of points": data.points("points/a.csv"),
    "points of EndoNuke": data.points("labels/bulk/p1/a.txt"),
    "image of a set": data.own_folder("images/a.png"),
    "labels, PNG": data.label_files(".png"),
    "labels, TIFF": data.label_files(".tif"),
    "labels, MATLAB": data.matlab,
    "labels, NumPy": data.numpy_arrays("masks.npy"),
    "images, NumPy": data.numpy_arrays("images.npy"),
    "types, NumPy": data.numpy_arrays("types.npy"),
    "tissue mask": data.tissue_mask,
    "split": data.split_file,
    "prompt": files.prompt,
    "calibration": files.calibration,
    "checkpoint": results.checkpoint,
    "generator": results.generator,
    "summary": results.summary,
    "table of nuclei": results.nuclei_table,
    "header of nuclei": results.table_header,
    "settings of a run": results.working_area("settings.json"),
    "ledger": results.working_area("done/000001.json"),
    "lock": results.working_area("lock"),
    "state of a slide": results.cohort_state,
}
