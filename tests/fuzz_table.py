"""Every parser of files from outside that the fuzz script tries, by name."""

from __future__ import annotations

import gzip

import fuzz_parsers as files
import fuzz_results as results

PARSERS: dict[str, files.Made] = {
    "TIFF": files.tiffs("tiff", "OME channels", "12 of 16 bits", "orientation 6", "palette", "strips", "JPEG", "CMYK"),
    "TIFF, any reader": files.tiffs("auto", "pyramid in SubIFDs", "BigTIFF", "big endian", "OME", "LZW", "JPEG 2000"),
    "PNG": files.images("png"),
    "JPEG": files.images("jpeg"),
    "DICOM": files.dicom,
    "VMS index": files.hamamatsu,
    "OME-XML": files.ome_xml,
    "Aperio XML": files.aperio_xml,
    "GeoJSON": files.geojson,
    "GeoJSON, gzip": files.packed_geojson(".geojson.gz", gzip.compress),
    "GeoJSON, zip": files.packed_geojson(".zip", files.zipped),
    "table of slides": files.slide_table,
    "table of a layout": files.layout_table,
    "manifest": files.own_folder("manifest.csv"),
    "table of classes": files.own_folder("classes.csv"),
    "classes of nuclei": files.own_folder("classes/a.csv"),
    "table of points": files.points("points/a.csv"),
    "points of EndoNuke": files.points("labels/bulk/p1/a.txt"),
    "image of a set": files.own_folder("images/a.png"),
    "labels, PNG": files.label_files(".png"),
    "labels, TIFF": files.label_files(".tif"),
    "labels, MATLAB": files.matlab,
    "labels, NumPy": files.numpy_arrays("masks.npy"),
    "images, NumPy": files.numpy_arrays("images.npy"),
    "types, NumPy": files.numpy_arrays("types.npy"),
    "tissue mask": files.tissue_mask,
    "split": files.split_file,
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
