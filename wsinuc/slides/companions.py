"""Slides that consist of several files, and what is missing when one of them came alone.

A MIRAX slide is a small file and a folder of the same name; its small file is a JPEG thumbnail, which opens as an
ordinary image when the folder is not there. So the names are looked at before any reader is.
"""

from __future__ import annotations

import os
from pathlib import Path

from wsinuc.errors import SlideError

_EXPORT = "export it as OME-TIFF, for example with QuPath or Bio-Formats"
_FORMATS_WITHOUT_READER = {
    ".ndpis": "a list of fluorescence slides (Hamamatsu NDPIS): name one of its .ndpi files",
    ".dcm": "a DICOM file that is no slide OpenSlide reads: all files of a slide's series must lie in one folder",
    ".bif": f"a Ventana slide that OpenSlide could not read: {_EXPORT}",
    ".svslide": "a Sakura slide whose database OpenSlide could not read",
    ".vsi": f"an Olympus slide (VSI), which no reader here knows: {_EXPORT}",
    ".czi": f"a Zeiss slide (CZI) that OpenSlide could not read: {_EXPORT}",
    ".lif": f"a Leica LIF file, which no reader here knows: {_EXPORT}",
    ".nd2": f"a Nikon ND2 file, which no reader here knows: {_EXPORT}",
    ".qptiff": "a PerkinElmer QPTIFF of a kind that no reader here knows: export it as OME-TIFF with QuPath",
    ".isyntax": "a Philips iSyntax file, which no reader here knows: export it as TIFF",
}


def check_companions(path: Path) -> None:
    """Raise SlideError when a part of a slide in several files is missing, naming the part."""
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        _check_mirax(path)
    elif suffix == ".vsi":
        _check_vsi(path)
    elif suffix in (".vms", ".vmu"):
        _check_hamamatsu(path)


def is_of_several_files(path: Path) -> bool:
    """Whether only OpenSlide can put the slide together: what other readers show is its thumbnail."""
    return path.suffix.lower() in (".mrxs", ".vms", ".vmu")


def hint(path: Path) -> str | None:
    """What to say of a file that no reader opens, by its name; None when the name tells nothing."""
    return _FORMATS_WITHOUT_READER.get(path.suffix.lower())


def _check_mirax(path: Path) -> None:
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise SlideError(
            f"{path}: the folder {folder.name}/ is missing beside {path.name}: a MIRAX slide is the .mrxs "
            "file and the folder "
            "of that name, which holds the pixels; copy it there, too"
        )
    if not (folder / "Slidedat.ini").is_file():
        raise SlideError(
            f"{path}: Slidedat.ini is missing in the folder {folder.name}/ beside {path.name}: the copy is incomplete, "
            "copy the whole folder again"
        )


def _check_vsi(path: Path) -> None:
    folder = path.with_name(f"_{path.stem}_")
    if not folder.is_dir():
        raise SlideError(
            f"{path}: the folder {folder.name}/ is missing beside {path.name}: an Olympus slide keeps its "
            "pixels there; besides, "
            "no reader here knows VSI: export the slide as OME-TIFF, for example with QuPath or Bio-Formats"
        )
    raise SlideError(f"{path}: {_FORMATS_WITHOUT_READER['.vsi']}")


def _check_hamamatsu(path: Path) -> None:
    """The parts that a Hamamatsu index names; a file that is no such index is left to the readers."""
    # An index is a few kilobytes of "key=value" lines; what is longer is none, and not read whole.
    with path.open("rb") as file:
        text = file.read(2**16).decode("latin-1")
    named = [line.partition("=")[2].strip() for line in text.splitlines() if line.lower().startswith("imagefile")]
    # os.path says no to a name that no file can have, where Path raises
    missing = [name for name in named if name and not os.path.isfile(path.parent / Path(name).name)]
    if missing:
        others = ""
        if len(missing) > 1:
            others = f", and {len(missing) - 1} more"
        raise SlideError(
            f"{path}: {missing[0]} is missing beside {path.name}{others}: the slide consists of all of these "
            "files, copy them, too"
        )
