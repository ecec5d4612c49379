"""Odd data sets: label pictures, XML, MATLAB and NumPy files, tables of points, splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from helpers.files import datasets
from helpers.files.label_pictures import SHAPE, Picture, pictures
from helpers.odd.annotations import file
from helpers.odd.doors import Gives, Refused, with_options
from helpers.odd.inputs import Row
from wsinuc.errors import DataError, MppError

Change = Callable[[Path], object]


def rows() -> Iterator[Row]:
    """All of them."""
    for picture in pictures():
        expected = Refused(DataError, picture.said) if picture.nuclei is None else Gives(picture.nuclei, picture.said)
        yield Row(
            name=f"labels: {picture.name}", door="open_dataset", make=partial(_with_label, picture), expected=expected
        )
    yield from _folders()
    yield from _published()
    yield from _points()
    yield from _splits()


def _two_widths(folder: Path) -> Path:
    root = _own(lambda root: (root / "labels" / "a.png").unlink(), folder)
    tifffile.imwrite(root / "labels" / "a.tif", datasets.blobs(1).astype(np.uint16))
    with tifffile.TiffFile(root / "labels" / "a.tif", mode="r+b") as tiff:
        tiff.pages.first.tags["ImageWidth"].overwrite((16, 16))
    return root


def _with_label(picture: Picture, folder: Path) -> Path:
    root = folder / "set"
    datasets.save(datasets.picture(0, SHAPE), root / "images" / "a.png")
    (root / "labels").mkdir()
    picture.write(root / "labels" / "a")
    return root


def _own(change: Change, folder: Path) -> Path:
    """One's own data set of one image and three nuclei, changed."""
    root = folder / "set"
    datasets.save(datasets.picture(0), root / "images" / "a.png")
    datasets.save(datasets.blobs(1, 2, 3).astype(np.uint8), root / "labels" / "a.png")
    change(root)
    return root


def _write(name: str, content: str | bytes) -> Change:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def _folders() -> Iterator[Row]:
    kinds: dict[str, tuple[Change, Gives | Refused]] = {
        "as it should be": (lambda root: None, Gives(3)),
        "a manifest from Excel": (_write("manifest.csv", "\ufeffname,patient\r\na,7\r\n"), Gives(3)),
        "a manifest that climbs out": (_write("manifest.csv", "name\n../a\n"), Refused(DataError, "a plain file name")),
        "a manifest with a root": (
            _write("manifest.csv", "name\n/etc/passwd\n"),
            Refused(DataError, "a plain file name"),
        ),
        "a manifest of what is not there": (_write("manifest.csv", "name\nb\n"), Refused(DataError, "is missing")),
        "a manifest without names": (_write("manifest.csv", "x\n1\n"), Refused(DataError, "no column 'name'")),
        "a colour that is none": (
            lambda root: [
                _write("classes.csv", "name,color\nA,#12\n")(root),
                _write("classes/a.csv", "label,class\n1,A\n")(root),
            ],
            Refused(DataError, "looks like #c8001e"),
        ),
        "labels without their image": (
            lambda root: (root / "images" / "a.png").unlink(),
            Refused(DataError, "images/NAME.png"),
        ),
        "images without labels": (lambda root: (root / "labels" / "a.png").unlink(), Refused(DataError, "is missing")),
        "an image that is text": (_write("images/a.png", b"no picture"), Refused(DataError, "cannot be decoded")),
        "an image of another size": (
            lambda root: datasets.save(datasets.picture(0, (9, 9)), root / "images" / "a.png"),
            Refused(DataError, "another image"),
        ),
        "a class that nobody named": (
            lambda root: [
                _write("classes.csv", "name\nA\n")(root),
                _write("classes/a.csv", "label,class\n1,B\n")(root),
            ],
            Refused(DataError, "'B'"),
        ),
    }
    for name, (change, expected) in kinds.items():
        yield Row(name=f"data set: {name}", door="open_dataset", make=partial(_own, change), expected=expected)
    yield Row(
        name="labels: two widths",
        door="open_dataset",
        make=_two_widths,
        expected=Refused(DataError, "cannot be decoded"),
    )
    yield Row(
        name="data set: an empty folder",
        door="open_dataset",
        make=lambda folder: folder,
        expected=Refused(DataError, "has the layout of no data set known here"),
    )
    yield Row(
        name="data set: a file instead of a folder",
        door="open_dataset",
        make=partial(file, "a.zip", b"PK"),
        expected=Refused(DataError, "is no folder"),
    )
    yield Row(
        name="data set: no resolution",
        door="open_dataset",
        make=partial(with_options, partial(_own, lambda root: None), {"mpp": None}),
        expected=Refused(MppError, "--mpp"),
    )


def _monuseg(xml: str, folder: Path) -> Path:
    datasets.save(datasets.picture(0), folder / "a.tif")
    (folder / "a.xml").write_text(xml)
    return folder


def _consep(folder: Path, content: bytes | None = None, **variables: np.ndarray) -> Path:
    datasets.save(datasets.picture(0), folder / "Train" / "Images" / "train_1.png")
    path = folder / "Train" / "Labels" / "train_1.mat"
    good = {"inst_map": datasets.blobs(1, 2, 3), "type_map": (datasets.blobs(1, 2, 3) > 0).astype(float)}
    datasets.save_mat(path, **(variables if "other" in variables else {**good, **variables}))
    if content is not None:
        path.write_bytes(content)
    return folder


def _pannuke(folder: Path, array: np.ndarray | None = None, content: bytes | None = None) -> Path:
    datasets.write_pannuke(folder, folds=(1,))
    path = next(folder.rglob("masks.npy"))
    if array is not None:
        np.save(path, array, allow_pickle=True)
    if content is not None:
        path.write_bytes(content)
    return folder


def _published() -> Iterator[Row]:
    good = datasets.aperio(datasets.square(2, 1, 4), datasets.square(9, 3, 2))
    laughs = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    cells = np.full(datasets.SHAPE, "a", object)
    nothing = np.zeros((2, 16, 16, 6))
    kinds: dict[str, tuple[Callable[[Path], Path], Gives | Refused]] = {
        "XML": (partial(_monuseg, good), Gives(2)),
        "XML with entities": (
            partial(_monuseg, f"{laughs}<Annotations>&b;</Annotations>"),
            Refused(DataError, "entities"),
        ),
        "XML without end": (partial(_monuseg, "<Annotations>" + "<a>" * 9999), Refused(DataError, "without end")),
        "XML of another program": (partial(_monuseg, "<annotation/>"), Refused(DataError, "root Annotations")),
        "XML with a corner of nan": (partial(_monuseg, good.replace('X="2"', 'X="nan"')), Refused(DataError, "finite")),
        "XML with a corner far away": (
            partial(_monuseg, good.replace('X="6"', 'X="1e300"')),
            Refused(DataError, "where no image is"),
        ),
        "XML cut off": (partial(_monuseg, good[:200]), Refused(DataError, "no whole XML")),
        "MATLAB": (_consep, Gives(3)),
        "MATLAB cut off": (
            partial(_consep, content=b"MATLAB 5.0 MAT-file".ljust(126) + b"IM\x0e"),
            Refused(DataError, "no whole"),
        ),
        "MATLAB 7.3": (
            partial(_consep, content=b"MATLAB 7.3".ljust(124) + b"\0\2IM" + bytes(99)),
            Refused(DataError, "7.3"),
        ),
        "MATLAB that is text": (partial(_consep, content=b"text"), Refused(DataError, "no MATLAB file")),
        "MATLAB without the map": (partial(_consep, other=np.zeros(3)), Refused(DataError, "no variable 'inst_map'")),
        "MATLAB with cells for numbers": (partial(_consep, type_map=cells), Refused(DataError, "array of numbers")),
        "MATLAB with complex numbers": (
            partial(_consep, type_map=np.full(datasets.SHAPE, 1j)),
            Refused(DataError, "array of numbers"),
        ),
        "MATLAB of another size": (partial(_consep, inst_map=np.zeros((9, 9))), Refused(DataError, "another image")),
        "NumPy": (_pannuke, Gives(3)),
        "NumPy without nuclei": (partial(_pannuke, array=nothing), Gives(0, "no nucleus is annotated")),
        "NumPy that would run code": (
            partial(_pannuke, array=np.array([{}, None])),
            Refused(DataError, "no plain NumPy array"),
        ),
        "NumPy cut off": (
            partial(_pannuke, content=b"\x93NUMPY\1\0v\0{'descr"),
            Refused(DataError, "no plain NumPy array"),
        ),
        "NumPy of nan": (partial(_pannuke, array=nothing + np.nan), Refused(DataError, "got nan to nan")),
        "NumPy of one patch too few": (partial(_pannuke, array=nothing[:1]), Refused(DataError, "of different folds")),
    }
    for name, (make, expected) in kinds.items():
        yield Row(name=f"published: {name}", door="open_dataset", make=make, expected=expected)


def _marked(points: str | bytes, folder: Path) -> Path:
    root = folder / "set"
    datasets.save(datasets.picture(1), root / "images" / "a.png")
    _write("points/a.csv", points)(root)
    _write("classes.csv", "name\nA\nB\n")(root)
    return root


def _points() -> Iterator[Row]:
    kinds: dict[str, tuple[str | bytes, Gives | Refused]] = {
        "two": ("x,y,class\n1,2,A\n3,4,\n", Gives(2)),
        "none": ("x,y,class\n", Gives(0)),
        "one outside the image": (
            "x,y,class\n1,2,A\n300,4,B\n",
            Gives(1, says="hold points outside of the image: left out"),
        ),
        "an unknown class": ("x,y,class\n1,2,C\n", Refused(DataError, "is not in classes.csv, which has A, B")),
        "infinity": ("x,y,class\ninf,2,A\n", Refused(DataError, "must be finite")),
        "text": ("x,y,class\none,2,A\n", Refused(DataError, "must be numbers")),
        "text of a megabyte": (f"x,y,class\n{'1' * 50_000}x,2,A\n", Refused(DataError, "must be numbers")),
        "a column missing": ("x,class\n1,A\n", Refused(DataError, "no column 'y'")),
        "UTF-16": ("x,y,class\n1,2,A\n".encode("utf-16"), Refused(DataError, "UTF-8")),
    }
    for name, (content, expected) in kinds.items():
        yield Row(name=f"points: {name}", door="open_dataset", make=partial(_marked, content), expected=expected)


def _splits() -> Iterator[Row]:
    good = {"format": "wsinuc-split", "version": 1, "dataset": "folder", "seed": 1}
    kinds: dict[str, tuple[object, Gives | Refused]] = {
        "no parts": (good, Refused(DataError, "damaged split")),
        "of another program": ({"train": []}, Refused(DataError, "is no split")),
        "of the future": ({**good, "version": 2}, Refused(DataError, "version 2")),
        "parts that are a list": ({**good, "parts": [1]}, Refused(DataError, "damaged split")),
        "a seed of infinity": ({**good, "parts": {}, "seed": 1e999}, Refused(DataError, "damaged split")),
        "no places": ({**good, "parts": {"train": []}}, Gives({"train": 0})),
    }
    for name, (value, expected) in kinds.items():
        make = partial(file, "split.json", json.dumps(value))
        yield Row(name=f"split: {name}", door="a split", make=make, expected=expected)
    deep = partial(file, "split.json", "[" * 100_000)
    yield Row(
        name="split: brackets without end",
        door="a split",
        make=deep,
        expected=Refused(DataError, "brackets in brackets without end"),
    )
