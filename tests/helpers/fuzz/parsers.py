"""What reads files from outside, each with good files to be damaged: for the fuzz script and its short test.

A parser is made in a folder of its own. It says which bytes are good, how they are damaged, and what is done with the
result: writing it where it belongs and reading it through the door that a user has.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.files.annotations import ODD, PLAIN, collection, polygon, square, star
from helpers.files.tiff_dialects import LAYOUTS, picture
from helpers.fuzz.judge import by_all
from helpers.fuzz.mutations import Rng, mutate, mutate_document, mutate_json
from wsinuc.grid import Box

INFO = 40
"""One of so many slides is described, too, which takes a process for each reader."""
Damage = Callable[[Rng, Sequence[bytes]], bytes]


@dataclass(frozen=True, kw_only=True)
class Parser:
    """Something that reads a file from outside."""

    seeds: Sequence[bytes]
    """Good files, and odd ones."""
    read: Callable[[bytes], object]
    """Puts the bytes where they belong and reads them as a user's command does; may raise WsinucError alone."""
    damage: Damage = mutate


Made = Callable[[Path], Parser]


def at(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Writes a file, then reads it."""

    def write_and_read(data: bytes) -> object:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return write_and_read


def look(path: Path, reader: str = "auto") -> None:
    """Open a slide, read its corners and a small picture of it, as info and segment do."""
    from wsinuc.errors import MppError
    from wsinuc.slides import open_slide
    from wsinuc.slides.view import read_resilient
    from wsinuc.workflows.doctor.info import describe_slide

    with open_slide(path, reader=reader, mpp=0.5) as slide:
        height, width = slide.level_shapes[0]
        view = slide.at(0.5)
        read_resilient(view, Box(0, 0, 64, 64))
        read_resilient(view, Box(max(0, height - 64), max(0, width - 64), height, width))
    if reader == "auto" and zlib.crc32(path.read_bytes()) % INFO == 0:
        try:
            describe_slide(path)
        except MppError:
            describe_slide(path, mpp=0.5)


def tiffs(reader: str, *names: str) -> Made:
    """Small TIFFs of those dialects."""

    def make(folder: Path) -> Parser:
        chosen = [layout for layout in LAYOUTS if layout.name in names]
        seeds = []
        for layout in chosen:
            layout.write(folder / "seed.tif")
            seeds.append((folder / "seed.tif").read_bytes())
        return Parser(seeds=seeds, read=at(folder / "slide.tif", partial(look, reader=reader)))

    return make


def images(kind: str) -> Made:
    """Small pictures as slides."""

    def make(folder: Path) -> Parser:
        small = Image.fromarray(picture()[:64, :80])
        variants = [small, small.convert("L")]
        variants += [] if kind == "jpeg" else [small.convert("RGBA"), small.convert("P"), small.convert("I;16")]
        seeds = []
        for variant in variants:
            stream = io.BytesIO()
            variant.save(stream, kind, dpi=(25400, 25400))
            seeds.append(stream.getvalue())
        return Parser(seeds=seeds, read=at(folder / f"slide.{kind}", look))

    return make


def dicom(folder: Path) -> Parser:
    """A DICOM series, of which one file is damaged."""
    from helpers.files.dicom import write_series
    from wsinuc.workflows.cohort.slide_list import list_slides

    paths = write_series(folder / "case", picture()[:100, :100], mpp=0.5, levels=2)
    good = [path.read_bytes() for path in paths]

    def read(path: Path) -> None:
        for job in list_slides([folder / "case"]):
            look(job.slide)  # type: ignore[arg-type]

    return Parser(seeds=[good[0], good[-1]], read=at(paths[0], read))


def hamamatsu(folder: Path) -> Parser:
    """The index of a VMS slide beside its images."""
    index = "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\nImageFile=a.jpg\nMapFile=m.jpg\n"
    for name in ("a.jpg", "m.jpg"):
        Image.fromarray(picture()).save(folder / name)
    return Parser(seeds=[index.encode()], read=at(folder / "slide.vms", look))


def ome_xml(folder: Path) -> Parser:
    """What an ImageDescription may hold."""
    import tifffile

    from wsinuc.slides.resolution import mpp_from_ome
    from wsinuc.slides.tiff.ome import check_brightfield, read_ome, rgb_order

    seeds = []
    for layout in LAYOUTS:
        if layout.suffix == ".ome.tif":
            layout.write(folder / "a.ome.tif")
            with tifffile.TiffFile(folder / "a.ome.tif") as tiff:
                seeds.append((tiff.ome_metadata or "").encode())

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        mpp_from_ome(text)
        for image in read_ome(text, "a.ome.tif"):
            check_brightfield(image, "a.ome.tif")
            rgb_order(image, "a.ome.tif")

    return Parser(seeds=seeds, read=read)


REGION = json.dumps(
    collection(
        polygon(square(1, 1, 9, 9), square(3, 3, 5, 5), objectType="annotation", classification={"name": "a"}),
        polygon(star(7, 20.0), classification={"name": "b", "color": [1, 2, 3]}, measurements={"x": 1.5}),
        {"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4.5]]}, "properties": {}},
        {"type": "Feature", "id": "x", "geometry": {"type": "LineString", "coordinates": [[0, 0], [5, 5]]}},
    )
).encode()


def _all_geojson(path: Path) -> None:
    from wsinuc.exports.qupath.check import check_geojson
    from wsinuc.slides.array import ArraySlide
    from wsinuc.synthesis.layout_files import read_layout
    from wsinuc.tissue import load_region
    from wsinuc.tissue.load import load_tissue

    check_geojson(path)
    view = ArraySlide(np.full((32, 32, 3), 255, np.uint8), mpp=0.5).at(0.5)
    by_all(
        lambda: load_region(path),
        lambda: load_tissue(path, view),
        lambda: read_layout(path, ("a", "b"), (32, 32)),
    )


def geojson(folder: Path) -> Parser:
    """Regions, tissue, layouts and the check for QuPath."""
    odd = [data for data, _ in ODD.values() if len(data) < 5000]
    seeds = [REGION, REGION, PLAIN, *odd]

    def damage(rng: Rng, given: Sequence[bytes]) -> bytes:
        return mutate_document(rng, given[:3]) if rng.random() < 0.5 else mutate(rng, given)

    return Parser(seeds=seeds, read=at(folder / "a.geojson", _all_geojson), damage=damage)


def packed_geojson(suffix: str, pack: Callable[[bytes], bytes]) -> Made:
    """The same compressed: half of the time what is inside is damaged, half of the time the packing."""

    def make(folder: Path) -> Parser:
        def damage(rng: Rng, given: Sequence[bytes]) -> bytes:
            if rng.random() < 0.5:
                return pack(mutate(rng, [REGION, PLAIN]))
            return mutate(rng, given)

        seeds = [pack(REGION), pack(PLAIN)]
        return Parser(seeds=seeds, read=at(folder / f"a{suffix}", _all_geojson), damage=damage)

    return make


def zipped(data: bytes) -> bytes:
    """A zip as QuPath writes it, and one entry that is none of its own."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", data)
        archive.writestr("__MACOSX/._a.geojson", b"\0\5\x16\7")
    return stream.getvalue()


def slide_table(folder: Path) -> Parser:
    """A table of slides."""
    from wsinuc.workflows.cohort.slide_list import list_slides

    seeds = [
        b"slide,mpp,roi\ncase1/a.svs,,a.geojson\ncase2/b.tif,0.25,\n",
        "\ufeffslide;name;tissue;model\r\na.svs;µ;auto;fast\r\n".encode(),
        b'slide,name\n"a, b.svs",case 7\ns3://bucket/a.svs,x\n',
    ]
    return Parser(seeds=seeds, read=at(folder / "slides.csv", lambda path: list_slides([path])))


def layout_table(folder: Path) -> Parser:
    """Points with classes for method C."""
    from wsinuc.synthesis.layout_files import read_layout

    seeds = [b"x,y,class\n1.5,2.5,a\n3,4,b\n", b"class,y,x\r\na,1,2\r\n", b"x,y\n1,2\n"]
    return Parser(seeds=seeds, read=at(folder / "a.csv", lambda path: read_layout(path, ("a", "b"))))


def prompt(folder: Path) -> Parser:
    """Sentences for method C."""
    from wsinuc.synthesis.prompts import Prompt, Vocabulary, parse_prompt

    words = Vocabulary(tissues=("colon", "bile duct"), stains=("", "IHC"), classes=("plasma", "glands, ducts and buds"))
    seeds = [Prompt(tissue="colon", classes=words.classes).text().encode(), Prompt(tissue="bile duct").text().encode()]
    return Parser(seeds=seeds, read=lambda data: parse_prompt(data.decode("utf-8", "replace"), words))


def calibration(folder: Path) -> Parser:
    """Statistics of a slide, half of the time with a hash that fits."""
    from wsinuc.store.calibration import read_calibration, write_calibration

    write_calibration({"mean": np.ones(3, np.float32), "scale": np.ones((2, 3), np.float32)}, folder / "seed")
    good = (folder / "seed").read_bytes()

    def damage(rng: Rng, seeds: Sequence[bytes]) -> bytes:
        if rng.random() < 0.3:
            return mutate(rng, seeds)
        content = mutate(rng, [good[64:]])
        return hashlib.sha256(content).hexdigest().encode() + content

    return Parser(seeds=[good], read=at(folder / "calibration", read_calibration), damage=damage)


def copied(source: Path, target: Path) -> Path:
    """A folder's copy in the place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


def resealed(content: dict, run_id: str = "") -> bytes:
    """JSON with a seal that fits, as a stranger can make it."""
    from wsinuc.store.ledger import SEAL, sealed

    return json.dumps(sealed({key: value for key, value in content.items() if key != SEAL}, run_id)).encode()


def sealed_json(run_id: str = "") -> Damage:
    """Damage to a sealed file, most of the time with a seal that fits."""

    def damage(rng: Rng, seeds: Sequence[bytes]) -> bytes:
        if rng.random() < 0.25:
            return mutate(rng, seeds)
        changed = mutate_json(rng, json.loads(seeds[rng.integers(len(seeds))]))
        return resealed(changed, run_id) if isinstance(changed, dict) else json.dumps(changed).encode()

    return damage
