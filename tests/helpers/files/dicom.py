"""Tiny DICOM whole-slide images: a series of levels, a label and an overview, as scanners write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, generate_uid

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE = 64
"""Side of a frame in pixels."""


def _jpeg(pixels: np.ndarray) -> bytes:
    import imagecodecs

    return imagecodecs.jpeg_encode(pixels, level=95, colorspace="rgb", outcolorspace="ycbcr", subsampling="444")


def write_instance(path: Path, pixels: np.ndarray, *, series: str, flavour: str, mpp: float, number: int) -> Path:
    """One instance of a series: a level (``VOLUME``), or a ``LABEL``, ``OVERVIEW`` or ``THUMBNAIL`` picture.

    Parameters
    ----------
    pixels
        RGB (h, w, 3); sides need not be multiples of the tile's.
    series
        UID that the instances of one slide share.
    """
    height, width = pixels.shape[:2]
    tall, wide = (TILE, TILE) if flavour == "VOLUME" else (height, width)  # pictures are one frame
    rows = -(-height // tall)
    columns = -(-width // wide)
    padded = np.full((rows * tall, columns * wide, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    frames = [
        _jpeg(np.ascontiguousarray(padded[y * tall : (y + 1) * tall, x * wide : (x + 1) * wide]))
        for y in range(rows)
        for x in range(columns)
    ]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = WHOLE_SLIDE
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(number)])
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.ImageType = [
        "ORIGINAL" if number == 0 else "DERIVED",
        "PRIMARY",
        flavour,
        "NONE" if number == 0 else "RESAMPLED",
    ]
    data.SOPClassUID = WHOLE_SLIDE
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.Modality = "SM"
    data.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    data.SeriesInstanceUID = series
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
    data.InstanceNumber = str(number)
    data.DimensionOrganizationType = "TILED_FULL"
    data.NumberOfFrames = str(len(frames))
    data.SamplesPerPixel = 3
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.PlanarConfiguration = 0
    data.Rows = tall
    data.Columns = wide
    data.BitsAllocated = 8
    data.BitsStored = 8
    data.HighBit = 7
    data.PixelRepresentation = 0
    data.TotalPixelMatrixColumns = width
    data.TotalPixelMatrixRows = height
    data.TotalPixelMatrixFocalPlanes = 1
    data.NumberOfOpticalPaths = 1
    data.ImagedVolumeWidth = width * mpp / 1000
    data.ImagedVolumeHeight = height * mpp / 1000
    measures = Dataset()
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    measures.SliceThickness = 0.001
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PixelData = encapsulate(frames)
    data["PixelData"].is_undefined_length = True
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, pixels: np.ndarray, *, mpp: float, seed: str = "a", levels: int = 3) -> list[Path]:
    """A slide: levels that halve, a label and an overview; files are named as by a scanner, the
    finest level not first."""
    series = generate_uid(entropy_srcs=[seed])
    paths = []
    for level in range(levels):
        reduced = pixels[:: 2**level, :: 2**level]
        name = folder / f"{seed}_{levels - level}.dcm"
        paths.append(write_instance(name, reduced, series=series, flavour="VOLUME", mpp=mpp * 2**level, number=level))
    for number, flavour in enumerate(("LABEL", "OVERVIEW"), start=levels):
        small = np.ascontiguousarray(pixels[:50, :60])
        path = folder / f"{seed}_{flavour.lower()}.dcm"
        paths.append(write_instance(path, small, series=series, flavour=flavour, mpp=20.0, number=number))
    return paths
