"""Regions and tissue that users draw, on slides with and without bounds: the same pixels give the same nuclei."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from PIL import Image

from helpers.files.annotations import collection, polygon, square, star, write
from helpers.oracle import CLASSES, MPP, OracleSegmenter, plane
from helpers.runs import config, run, tree
from wsinuc.errors import DataError, OutputError
from wsinuc.slides import open_slide
from wsinuc.store import ResultStore
from wsinuc.store.files import read_json, write_json
from wsinuc.tissue import Region, load_region
from wsinuc.workflows.cohort.done_before import differences
from wsinuc.workflows.cohort.run import segment_cohort
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.segment.plan import plan_segment

SIDE = 512
OFFSET = (150, 200)
"""(y, x) of the scanned part within the whole slide."""
TIFF: dict[str, Any] = {
    "tile": (256, 256),
    "photometric": "rgb",
    "compression": "deflate",
    "resolution": (1e4 / MPP, 1e4 / MPP),
    "resolutionunit": "CENTIMETER",
}
SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:1">
<collection name="c" uuid="urn:uuid:2" sizeX="{whole}" sizeY="{whole}"><barcode>QQ==</barcode>
<image name="macro" uuid="urn:uuid:3"><creationDate>2020-01-01T00:00:00Z</creationDate><device model="m" version="1"/>
<pixels sizeX="64" sizeY="64"><dimension sizeX="64" sizeY="64" r="0" ifd="0"/></pixels>
<view sizeX="{whole}" sizeY="{whole}" offsetX="0" offsetY="0"/><scanSettings><objectiveSettings><objective>1</objective>
</objectiveSettings><illuminationSettings><numericalAperture>0.05</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>
<image name="main" uuid="urn:uuid:4"><creationDate>2020-01-01T00:00:00Z</creationDate><device model="m" version="1"/>
<pixels sizeX="{side}" sizeY="{side}"><dimension sizeX="{side}" sizeY="{side}" r="0" ifd="1"/></pixels>
<view sizeX="{nm}" sizeY="{nm}" offsetX="{x}" offsetY="{y}"/><scanSettings><objectiveSettings><objective>20</objective>
</objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image></collection></scn>"""


def write_scn(path: Path, pixels: np.ndarray, offset: tuple[int, int]) -> Path:
    """A Leica SCN of square pixels, which lie ``offset`` (y, x) within a slide of 1,000 px a side."""
    nm = int(1000 * MPP)
    side = len(pixels)
    text = SCN.format(whole=1000 * nm, side=side, nm=side * nm, x=offset[1] * nm, y=offset[0] * nm)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level, description in ((np.full((64, 64, 3), 255, np.uint8), text), (pixels, None)):
            tiff.write(level, description=description, metadata=None, **TIFF)
    return path


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[60:452, 60:452] = plane((392, 392))
    return image


@pytest.fixture(scope="module")
def plain(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.tiff"
    tifffile.imwrite(path, pixels, **TIFF)
    return path


@pytest.fixture(scope="module")
def bounded(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_scn(tmp_path_factory.mktemp("bounded") / "bounded.scn", pixels, OFFSET)
    with open_slide(path) as slide:
        assert slide.origin == OFFSET
    return path


ROI = collection(
    polygon(square(100, 120, 300, 260), square(150, 150, 200, 200)),
    polygon(star(7, 200.0)),
    {
        "type": "Feature",
        "properties": None,
        "geometry": {"type": "GeometryCollection", "geometries": [polygon(square(310, 300, 420, 420))["geometry"]]},
    },
    {"type": "Feature", "properties": {}, "geometry": None},
)


def nuclei(out: Path) -> set[tuple[Any, ...]]:
    """The outlines of a result as QuPath sees them, by class."""
    features = json.loads((out / "nuclei.geojson").read_text())["features"]
    return {
        (item["properties"]["classification"]["name"], tuple(map(tuple, item["geometry"]["coordinates"][0])))
        for item in features
    }


def inside(found: set[tuple[Any, ...]], region: Region) -> set[tuple[Any, ...]]:
    """Those with their centroid in the region."""
    return {item for item in found if region.contains(centroid(item[1])).all()}


def centroid(ring: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(1, 2) (y, x) of a polygon."""
    center = shapely.Polygon(ring).centroid
    return np.array([[center.y, center.x]])


@pytest.mark.parametrize(("what", "ending"), [("roi", ".geojson"), ("tissue", ".zip")])
def test_what_is_drawn_on_the_same_pixels_gives_the_same_nuclei(
    plain: Path, bounded: Path, tmp_path: Path, what: str, ending: str
) -> None:
    drawn = write(tmp_path / f"drawn{ending}", ROI)
    changes = {"roi": drawn} if what == "roi" else {"tissue": str(drawn)}
    for slide in (plain, bounded):
        run(slide, tmp_path / slide.stem, **changes)
    region = load_region(drawn)
    found, others = (inside(nuclei(tmp_path / slide.stem), region) for slide in (plain, bounded))
    assert found == others
    assert len(found) > 20
    if what == "roi":
        run(plain, tmp_path / "whole")
        assert found == nuclei(tmp_path / "bounded") == inside(nuclei(tmp_path / "whole"), region)


def test_a_zip_gives_the_bytes_of_what_is_in_it(plain: Path, tmp_path: Path) -> None:
    for ending in ("geojson", "zip"):
        run(plain, tmp_path / ending, roi=write(tmp_path / f"a.{ending}", ROI))
    tables = [
        {name: digest for name, digest in tree(tmp_path / e).items() if "labels" in name} for e in ("geojson", "zip")
    ]
    assert tables[0] == tables[1]
    assert nuclei(tmp_path / "geojson") == nuclei(tmp_path / "zip")


class TestNothingSelected:
    """An error that says where the region and the tissue lie, as the user sees them."""

    @pytest.fixture(params=["plain", "bounded"])
    def slide(self, request: pytest.FixtureRequest) -> Path:
        return request.getfixturevalue(request.param)

    def test_a_region_on_glass(self, slide: Path, tmp_path: Path) -> None:
        mask = write(tmp_path / "tissue.geojson", polygon(square(200, 200, 400, 400)))
        roi = write(tmp_path / "roi.geojson", polygon(square(10, 20, 40, 50)))
        with pytest.raises(DataError, match="selects no tissue") as caught:
            run(slide, tmp_path / "out", roi=roi, tissue=str(mask))
        text = str(caught.value)
        assert "x 10 to 40, y 20 to 50" in text
        assert "--tissue none" in text
        assert ("Bio-Formats" in text) == (slide.suffix == ".scn")
        box = [
            int(word.strip(",")) for word in text.partition("the tissue spans")[2].split() if word.strip(",").isdigit()
        ]
        np.testing.assert_allclose(box[:4], [200, 400, 200, 400], atol=17)  # cells of 16 px
        assert not (tmp_path / "out").exists()

    def test_it_may_be_looked_at_all_the_same(self, slide: Path, tmp_path: Path) -> None:
        roi = write(tmp_path / "roi.geojson", polygon(square(10, 20, 40, 50)))
        assert run(slide, tmp_path / "out", roi=roi, tissue="none").nuclei == 0

    def test_a_slide_without_tissue(self, tmp_path: Path) -> None:
        Image.new("RGB", (256, 256), "white").save(tmp_path / "glass.png")
        roi = write(tmp_path / "roi.geojson", polygon(square(10, 20, 40, 50)))
        with pytest.raises(DataError, match="no tissue that could be found"):
            run(tmp_path / "glass.png", tmp_path / "out", roi=roi, tissue="auto", mpp=MPP)
        assert run(tmp_path / "glass.png", tmp_path / "out", tissue="auto", mpp=MPP).nuclei == 0

    def test_a_region_outside_the_slide(self, slide: Path, tmp_path: Path) -> None:
        roi = write(tmp_path / "roi.geojson", polygon(square(9000, 8000, 9100, 8200)))
        with pytest.raises(DataError, match="x 9000 to 9100, y 8000 to 8200, outside the slide of") as caught:
            run(slide, tmp_path / "out", roi=roi)
        dy, dx = OFFSET if slide.suffix == ".scn" else (0, 0)
        with open_slide(slide) as opened:
            height, width = opened.level_shapes[0]
        assert f"spans x {-dx} to {width - dx}, y {-dy} to {height - dy}" in str(caught.value)

    def test_a_mask_of_nothing(self, slide: Path, tmp_path: Path) -> None:
        with open_slide(slide) as opened:
            height, width = opened.level_shapes[0]
        Image.new("L", (width, height)).save(tmp_path / "mask.png")
        with pytest.raises(DataError, match="selects nothing"):
            run(slide, tmp_path / "out", tissue=str(tmp_path / "mask.png"))

    def test_a_region_between_the_corners_of_a_fine_mask(self, plain: Path, tmp_path: Path) -> None:
        """A line of tissue thinner than a cell lies in no corner of a cell, and is tissue all the same."""
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, 250:253] = 255
        Image.fromarray(mask).save(tmp_path / "mask.png")
        roi = write(tmp_path / "roi.geojson", polygon(square(200, 200, 300, 300)))
        assert run(plain, tmp_path / "out", roi=roi, tissue=str(tmp_path / "mask.png")).nuclei > 0

    def test_one_row_of_a_cohort_does_not_stop_the_others(
        self, plain: Path, bounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, *, device: OracleSegmenter())
        jobs = (
            SlideJob(slide=plain, roi=write(tmp_path / "far.geojson", polygon(square(9000, 9000, 9100, 9100)))),
            SlideJob(slide=bounded, roi=write(tmp_path / "roi.zip", ROI)),
        )
        states = segment_cohort(jobs, tmp_path / "out", config()).slides
        assert [state.state for state in states] == ["failed", "done"]
        assert "outside the slide" in str(states[0].error)


def test_a_result_of_another_origin_is_another_result(plain: Path, bounded: Path, tmp_path: Path) -> None:
    """What earlier versions cut out of a slide with bounds lies elsewhere: it is neither continued
    nor taken for done."""
    roi = write(tmp_path / "roi.geojson", ROI)
    settings = config(roi=roi)
    kinds = {}
    for slide in (plain, bounded):
        out = tmp_path / slide.stem
        run(slide, out, roi=roi)
        made = read_json(out / "summary.json")
        assert differences(made, slide, out, settings, OracleSegmenter()) == ()
        kinds[slide.stem] = made["settings"]["roi"]
    assert kinds["bounded"] == f"{kinds['plain']} from {OFFSET[1]}, {OFFSET[0]}"
    before = read_json(tmp_path / "bounded" / "summary.json")
    before["settings"]["roi"] = kinds["plain"]
    write_json(before, tmp_path / "bounded" / "summary.json")
    assert differences(before, bounded, tmp_path / "bounded", settings, OracleSegmenter()) == ("the region differs",)
    now = plan_segment(bounded, tmp_path / "next", settings, OracleSegmenter()).settings
    store = ResultStore(tmp_path / "next")
    with store.open_run({**now, "roi": kinds["plain"]}, resume=True, overwrite=False):
        pass
    with pytest.raises(OutputError, match="the region differs"), store.open_run(now, resume=True, overwrite=False):
        pass


def test_both_classes_are_there(plain: Path, tmp_path: Path) -> None:
    """So that the comparisons above compare something."""
    run(plain, tmp_path / "out")
    assert {name for name, _ in nuclei(tmp_path / "out")} == {item.name for item in CLASSES}
