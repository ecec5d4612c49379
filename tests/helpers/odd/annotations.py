"""Odd regions, tissue masks, GeoJSON and zips, and tables of slides and points."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.files.annotations import ODD, PLAIN, circle, collection, polygon, square, star
from helpers.odd.doors import SIDE, Gives, Refused
from helpers.odd.inputs import Row
from helpers.odd.no_files import NO_FILES, ODD_TABLES, make_no_file
from wsinuc.errors import ConfigError, DataError

HOLED = collection(polygon(square(2, 2, 22, 22), square(10, 10, 14, 14)))
Make = Callable[[Path], Path]


def rows() -> Iterator[Row]:
    """All of them."""
    for name, (content, says) in ODD.items():
        make = partial(file, "roi.geojson", content)
        yield Row(name=f"GeoJSON: {name}", door="--roi", make=make, expected=_expected(name, says))
    yield from _regions()
    yield from _packed()
    yield from _masks()
    yield from _checked()
    yield from _slide_tables()
    yield from _layouts()


def file(name: str, content: bytes | str, folder: Path) -> Path:
    """A file of that name and content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _expected(name: str, says: str | None) -> Gives | Refused:
    return Gives(81) if says is None else Refused(DataError, says)


def _json(name: str, value: object) -> Make:
    return partial(file, name, json.dumps(value))


def _regions() -> Iterator[Row]:
    loop = [[0, 0], [20, 21], [20, 0], [0, 21], [0, 0]]  # 200 centres inside, none on an edge
    around = {"type": "GeometryCollection", "geometries": [polygon(square(0, 0, 4, 4))["geometry"]] * 2}
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
    nested = polygon(square(0, 0, 4, 4), childObjects=[polygon(square(8, 8, 10, 10))])
    kinds: dict[str, tuple[object, Gives | Refused]] = {
        "a square with a hole": (HOLED, Gives(400 - 16)),
        "the same square twice": (collection(polygon(square(0, 0, 9, 9)), polygon(square(0, 0, 9, 9))), Gives(81)),
        "two squares that overlap": (collection(polygon(square(0, 0, 9, 9)), polygon(square(5, 0, 12, 9))), Gives(108)),
        "corners the other way round": (collection(polygon(square(0, 0, 9, 9)[::-1])), Gives(81)),
        "not closed": (collection(polygon(square(0, 0, 9, 9)[:-1])), Gives(81)),
        "a bow tie": (collection(polygon(loop)), Gives(200)),
        "negative coordinates": (collection(polygon(square(-50, -50, 10, 10))), Gives(100)),
        "fractions of a pixel": (collection(polygon(square(0.25, 0.25, 9.25, 9.25))), Gives(81)),
        "ten thousand corners": (collection(polygon(circle(10_000, 32.0))), Gives(3228)),
        "a bare geometry": (polygon(square(0, 0, 9, 9))["geometry"], Gives(81)),
        "a bare list of features": ([polygon(square(0, 0, 9, 9))], Gives(81)),
        "a collection of geometries": (around, Gives(16)),
        "objects inside an annotation": (collection(nested), Gives(20)),
        "a point beside a polygon": (collection(point, polygon(square(0, 0, 9, 9))), Gives(81)),
        "points alone": (collection(point), Refused(DataError, "no polygon in it")),
        "a line that was closed": (
            collection(polygon([[0, 0], [9, 9], [0, 0]])),
            Refused(DataError, "no polygon in it"),
        ),
        "micrometres of a slide in space": (
            collection(polygon(square(0, 0, 1e12, 1e12))),
            Refused(DataError, "pixels?"),
        ),
        "shares of the image": (
            collection(polygon(square(0.1, 0.2, 0.9, 0.7))),
            Refused(DataError, "0.8 x 0.5 px large: are these coordinates pixels"),
        ),
        "an empty collection": (collection(), Refused(DataError, "no polygon in it")),
        "a type that is a list": (
            collection({"type": ["Polygon"], "coordinates": []}),
            Refused(DataError, "no polygon"),
        ),
        "a geometry whose type is a list": (
            collection({"type": "Feature", "geometry": {"type": [], "coordinates": []}, "properties": {}}),
            Refused(DataError, "no polygon"),
        ),
        "a number": (7, Refused(DataError, "no polygon in it")),
    }
    for name, (value, expected) in kinds.items():
        yield Row(name=f"region: {name}", door="--roi", make=_json("roi.geojson", value), expected=expected)
    for kind, says in NO_FILES.items():
        make = partial(make_no_file, kind, name="roi.geojson")
        yield Row(name=f"region: {kind}", door="--roi", make=make, expected=Refused(DataError, says))


def zipped(*entries: tuple[str, bytes], level: int = 6) -> bytes:
    """A zip of those entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def _locked() -> bytes:
    """A zip whose entry says that it has a password."""
    data = bytearray(zipped(("a.geojson", PLAIN)))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def _packed() -> Iterator[Row]:
    good = zipped(("a.geojson", PLAIN))
    kinds: dict[str, tuple[str, bytes, Gives | Refused]] = {
        "QuPath's zip": ("a.zip", good, Gives(81)),
        "zip of two": ("a.zip", zipped(("a.geojson", PLAIN), ("b/c.json", PLAIN.replace(b"9", b"4"))), Gives(81)),
        "zip made by macOS": ("a.zip", zipped(("a.geojson", PLAIN), ("__MACOSX/._a.geojson", b"\0\5\26")), Gives(81)),
        "zip whose entry climbs out": ("a.zip", zipped(("../../a.geojson", PLAIN)), Gives(81)),
        "gzip": ("a.geojson.gz", gzip.compress(PLAIN), Gives(81)),
        "gzip of nothing": ("a.geojson.gz", gzip.compress(b""), Refused(DataError, "cannot parse")),
        "gzip cut off": ("a.geojson.gz", gzip.compress(PLAIN)[:-9], Refused(DataError, "damaged")),
        "gzip without its ending": ("a.geojson", gzip.compress(PLAIN), Refused(DataError, "call it .geojson.gz")),
        "zip without its ending": ("a.geojson", good, Refused(DataError, "call it .zip")),
        "XML of ImageScope": (
            "a.xml",
            b'\xef\xbb\xbf<?xml version="1.0"?><Annotations/>',
            Refused(DataError, "exported in QuPath"),
        ),
        "TIFF": ("a.geojson", b"II+\0\x08\0\0\0", Refused(DataError, "it is a TIFF")),
        "no gzip": ("a.geojson.gz", PLAIN, Refused(DataError, "damaged")),
        "gzip that is a bomb": ("a.geojson.gz", gzip.compress(bytes(2**24)), Refused(DataError, "when unpacked")),
        "zip that is a bomb": ("a.zip", zipped(("a.geojson", bytes(2**24))), Refused(DataError, "shrank more than")),
        "zip of texts": ("a.zip", zipped(("a.txt", b"x")), Refused(DataError, "without a .geojson")),
        "zip of zips": ("a.zip", zipped(("a.zip", good)), Refused(DataError, "without a .geojson")),
        "zip with a password": ("a.zip", _locked(), Refused(DataError, "without a password")),
        "zip cut off": ("a.zip", good[:-30], Refused(DataError, "damaged")),
        "no zip": ("a.zip", PLAIN, Refused(DataError, "damaged")),
        "zip with a damaged entry": ("a.zip", good[:45] + b"\xff\xff\xff" + good[48:], Refused(DataError, "damaged")),
    }
    for name, (path, content, expected) in kinds.items():
        yield Row(name=f"packed: {name}", door="--roi", make=partial(file, path, content), expected=expected)


def _mask(values: np.ndarray, name: str, folder: Path, mode: str | None = None) -> Path:
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def _masks() -> Iterator[Row]:
    half = np.zeros((SIDE, SIDE), np.uint8)
    half[:, : SIDE // 2] = 255
    clear = np.dstack([half] * 3 + [np.full_like(half, 255)])
    half_of_it = Gives(SIDE * SIDE // 2)
    kinds: dict[str, tuple[Make, Gives | Refused]] = {
        "black and white": (partial(_mask, half, "a.png"), Gives(SIDE * SIDE // 2)),
        "of one bit": (partial(_mask, half > 0, "a.png"), Gives(SIDE * SIDE // 2)),
        "numbers of 1": (partial(_mask, half // 255, "a.png"), Gives(SIDE * SIDE // 2)),
        "of 16 bits": (partial(_mask, half.astype(np.uint16) * 257, "a.png"), Gives(SIDE * SIDE // 2)),
        "in colour with alpha": (partial(_mask, clear, "a.png"), Gives(SIDE * SIDE // 2)),
        "eight times smaller": (partial(_mask, half[::8, ::8], "a.png"), Gives(SIDE * SIDE // 2)),
        "on transparent white": (
            partial(_mask, np.dstack([half | 255] * 3 + [half]), "a.png"),
            half_of_it,
        ),
        "grey and transparent": (partial(_mask, np.dstack([np.full_like(half, 9), half]), "a.png"), half_of_it),
        "JPEG": (partial(_mask, half, "a.jpg"), Refused(DataError, "save a PNG")),
        "probabilities": (
            partial(_mask, half // 3 + 9, "a.png"),
            Refused(DataError, "none of its pixels is 0, they are 9 to 94"),
        ),
        "a picture of the slide": (partial(_mask, _picture(), "a.png"), Refused(DataError, "a picture and no mask")),
        "all white": (partial(_mask, half * 0 + 255, "a.png"), Gives(SIDE * SIDE)),
        "all black": (partial(_mask, half * 0, "a.png"), Refused(DataError, "selects nothing")),
        "of another slide": (
            partial(_mask, half[:20], "a.png"),
            Refused(DataError, "width to height must be the same"),
        ),
        "a chunk of noise": (_noisy_mask, Refused(DataError, "cannot read it")),
        "cut off": (_cut_mask, Refused(DataError, "cannot read it")),
        "text": (partial(file, "a.png", b"no picture"), Refused(DataError, "cannot read it")),
        "polygons, whole cells of 16 px": (_json("a.geojson", HOLED), Gives(32 * 32)),
        "polygons beside the slide": (
            _json("a.geojson", collection(polygon(square(900, 900, 950, 950)))),
            Refused(DataError, "outside the slide of 64 x 64"),
        ),
        "a pipe": (partial(make_no_file, "pipe"), Refused(DataError, "is a named pipe")),
        "missing": (partial(make_no_file, "missing"), Refused(DataError, "no such tissue mask")),
    }
    for name, (make, expected) in kinds.items():
        yield Row(name=f"mask: {name}", door="--tissue FILE", make=make, expected=expected)


def _picture() -> np.ndarray:
    """A photograph, some of whose pixels are black."""
    pixels = np.random.default_rng(0).integers(60, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    pixels[:2] = 0
    return pixels


def _noisy_mask(folder: Path) -> Path:
    path = _mask(np.zeros((SIDE, SIDE), np.uint8), "a.png", folder)
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"\xa9d\x80\x95"))
    return path


def _cut_mask(folder: Path) -> Path:
    path = _mask(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8), "a.png", folder)
    path.write_bytes(path.read_bytes()[:900])
    return path


def _checked() -> Iterator[Row]:
    kinds: dict[str, tuple[str, bytes, Gives | Refused]] = {
        "good": ("a.geojson", PLAIN, Gives(1)),
        "a star that crosses itself": (
            "a.geojson",
            json.dumps(collection(polygon(star(7, 50.0)))).encode(),
            Gives(1, "crosses itself"),
        ),
        "not JSON": ("a.geojson", b"{", Gives(0, "no valid JSON")),
        "an ending that QuPath does not know": ("a.txt", PLAIN, Gives(0, "QuPath imports nothing from a name")),
        "a zip with one entry of two broken": (
            "a.zip",
            zipped(("a.geojson", PLAIN), ("b.geojson", b"{")),
            Gives(1, "QuPath silently leaves out a zip entry"),
        ),
    }
    for name, (path, content, expected) in kinds.items():
        yield Row(
            name=f"for QuPath: {name}", door="check_geojson", make=partial(file, path, content), expected=expected
        )
    missing = partial(make_no_file, "missing", name="a.geojson")
    yield Row(
        name="for QuPath: missing", door="check_geojson", make=missing, expected=Refused(DataError, "no such file")
    )


def _slide_tables() -> Iterator[Row]:
    says = {"a field without end": "no proper CSV", "no line end": "no column slide"}
    for name, content in ODD_TABLES.items():
        make = partial(file, "a.csv", content)
        expected = Refused(DataError, says.get(name, "no UTF-8 text"))
        yield Row(name=f"table of slides: {name}", door="a list of slides", make=make, expected=expected)
    kinds: dict[str, tuple[bytes | str, Gives | Refused]] = {
        "plain": ("slide\na.svs\nb.tif\n", Gives(("a", "b"))),
        "from Excel": ("\ufeffslide;name\r\na.svs;Fall 7\r\n", Gives(("Fall 7",))),
        "no line end at its end": ("slide\na.svs", Gives(("a",))),
        "empty lines": ("slide\n\na.svs\n\n\n", Gives(("a",))),
        "a comma in a name": ('slide,name\n"a, b.svs",\n', Gives(("a, b",))),
        "columns in another order": ("name,slide\nx,a.svs\n", Gives(("x",))),
        "a header alone": ("slide\n", Refused(DataError, "lists no slides")),
        "empty": ("", Refused(DataError, "no column slide")),
        "no header": ("a.svs\nb.svs\n", Refused(DataError, "no column slide")),
        "an unknown column": ("slide,stain\na.svs,HE\n", Refused(DataError, "'stain'")),
        "a column twice": ("slide,slide\na.svs,b.svs\n", Refused(DataError, "a column twice")),
        "a value too many": ("slide,mpp\na.svs,0.5,1\n", Refused(DataError, "line 2: 3 values for 2 columns")),
        "a decimal comma": ('slide,mpp\na.svs,"0,25"\n', Refused(DataError, "mpp is no number")),
        "a resolution of nan": ("slide,mpp\na.svs,nan\n", Refused(DataError, "line 2")),
        "a name that climbs out": ("slide,name\na.svs,../../x\n", Refused(DataError, "must not hold / ")),
        "two slides of one name": ("slide\n1/a.svs\n2/A.svs\n", Refused(ConfigError, "would both be written")),
        "a NUL": (b"slide\na\0.svs\n", Refused(DataError, "no UTF-8 text")),
        "a quote without end": ('slide\n"a.svs\n', Refused(DataError, "no proper CSV")),
        "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\xff", Refused(DataError, "no UTF-8 text")),
        "a name of 300 letters": (f"slide\n{'x' * 300}.svs\n", Refused(ConfigError, "too long")),
    }
    for name, (content, expected) in kinds.items():
        make = partial(file, "slides.csv", content)
        yield Row(name=f"table of slides: {name}", door="a list of slides", make=make, expected=expected)


def _layouts() -> Iterator[Row]:
    for name, content in ODD_TABLES.items():
        make = partial(file, "a.csv", content)
        expected = Refused(DataError, "UTF-8 text" if name in ("utf-16", "latin-1") else "needs the columns x, y")
        yield Row(name=f"layout: {name}", door="a layout", make=make, expected=expected)
    kinds: dict[str, tuple[str, bytes | str, Gives | Refused]] = {
        "plain": ("a.csv", "x,y,class\n1,2,a\n3.5,4,B\n", Gives(2)),
        "no number": ("a.csv", "x,y,class\n1,two,a\n", Refused(DataError, "line 2: x and y must be numbers")),
        "nan": ("a.csv", "x,y,class\nnan,2,a\n", Refused(DataError, "outside the canvas")),
        "an unknown class": ("a.csv", "x,y,class\n1,2,c\n", Refused(DataError, "the classes are: a, b")),
        "a canvas for giants": ("a.csv", "x,y,class\n1e9,2,a\n", Refused(DataError, "too far for a canvas")),
        "no points": ("a.csv", "x,y,class\n", Refused(DataError, "found 0")),
        "a spreadsheet": ("a.xlsx", b"PK\3\4", Refused(DataError, "a layout is a .csv")),
    }
    for name, (path, content, expected) in kinds.items():
        yield Row(name=f"layout: {name}", door="a layout", make=partial(file, path, content), expected=expected)
