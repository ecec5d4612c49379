"""The page of a slide: what it says, that it loads nothing, and that no name can change it."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.errors import OutputError
from wsinuc.exports.pictures.fields import DENSEST
from wsinuc.exports.pictures.left_out import LegendEntry
from wsinuc.exports.pictures.slide_pictures import FieldPictures, Overview
from wsinuc.exports.pictures.small_nuclei import smallest_nuclei
from wsinuc.exports.report.distributions import Distributions
from wsinuc.exports.report.encoding import LIMIT, embed
from wsinuc.exports.report.facts import ClassFacts, Finding, LeftOut, SlideFacts
from wsinuc.exports.report.slide_page import SlideReport, slide_page, write_slide_page
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.measure import measure

CLASSES = (NucleusClass("tumour", (255, 0, 0)), NucleusClass("other", (0, 0, 255)))
HOSTILE = '<script>alert("x")</script>"\' onload=alert(1) &amp; \x1b[2J\u202e{{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def nuclei() -> Nuclei:
    """A large nucleus of the first class at (100, 100) and a small one of the second at (200, 300)."""
    labels = np.zeros((384, 384), np.int32)
    labels[80:120, 80:120] = 1
    labels[195:205, 295:305] = 2
    scores = np.zeros((4, 384, 384), np.uint8)
    scores[0] = 204
    scores[2][labels == 1] = 255
    scores[3][labels == 2] = 255
    frame = Frame(mpp=0.5, downsample=(1.0, 1.0))
    return measure(labels, scores, Box(0, 0, 384, 384), frame, CLASSES).with_ids(1)


def report(name: str = "case 7.svs", second: str = "other", **changes: object) -> SlideReport:
    facts = {
        "name": name,
        "classes": (
            ClassFacts(name="tumour", color=(255, 0, 0), count=1234567),
            ClassFacts(name=second, color=(0, 0, 255), count=0),
        ),
        "tissue_mm2": 12.345,
        "area_name": "tissue",
        "resolution": "0.25 µm per pixel",
        "left_out": (LeftOut(what="pen", why="strokes of a marker", mm2=1.5, share=0.0123),),
        "search": "Nuclei were looked for in tissue.",
        "notes": (),
        "citation": "To cite: wsinuc",
        "settings": (("slide", name), ("block", "2048")),
        "versions": (("numpy", "2.4.6"),),
        **changes,
    }
    part = nuclei()
    distributions = Distributions()
    distributions.add(part)
    grey = Image.new("RGB", (768, 768), (200, 150, 200))
    return SlideReport(
        facts=SlideFacts(**facts),  # type: ignore[arg-type]
        overview=Overview(
            Image.new("RGB", (400, 300), "white"), 10.0, 0.05, [LegendEntry("pen 1.5 mm²", (230, 110, 0))]
        ),
        fields=[(DENSEST, FieldPictures(Box(0, 0, 384, 384), 0.25, grey, grey.copy(), (part,)))],
        findings=(Finding("Focus", "sharp"), Finding("Small nuclei", "some", is_doubtful=True)),
        distributions=distributions,
        has_region=False,
    )


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(slide_page(report()))


def test_counts_and_densities_are_written_as_people_write_them(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "1,234,567 nuclei on 12.3 mm² of tissue: 100,005 per mm²." in text
    assert "pen 1.5 mm² 1.2% strokes of a marker" in text
    assert "400 µm²" in text  # the median area of the first class: 1600 px of 0.25 µm²
    assert "um2" not in text
    assert "mm2" not in text


def test_everything_that_was_asked_for_has_its_section(page: Page) -> None:
    sections = [attributes["id"] for attributes in page.of("section")]
    assert sections == ["slide", "counts", "fields", "distributions", "quality", "left-out", "settings"]
    assert "without outlines" in (page.of("img")[1]["alt"] or "")
    assert "with the outlines" in (page.of("img")[2]["alt"] or "")
    for text in ("Densest field: 2 nuclei", "numpy 2.4.6", "To cite: wsinuc", "strokes of a marker"):
        assert text in page.text


def test_nothing_is_loaded_and_nothing_is_run(page: Page) -> None:
    addresses = [
        str(value) for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not page.of("script")
    assert not page.of("link")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    policy = next(each["content"] for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_names_are_shown_and_never_obeyed() -> None:
    html = slide_page(report(HOSTILE, HOSTILE, search=HOSTILE, citation=HOSTILE))
    page = Page(html)
    assert not page.of("script")
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in Page(slide_page(report())).tags]
    assert page.text.count('<script>alert("x")</script>') >= 4
    assert "{{ 7 * 7 }}" in page.text
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "\\x1b[2J\\u202e" in page.text


def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    write_slide_page(report("sl\udcffide.svs"), tmp_path / "report.html")
    assert "sl\\xffide.svs" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_report_is_the_same_bytes() -> None:
    assert slide_page(report()) == slide_page(report())


def test_a_slide_without_nuclei_has_a_page() -> None:
    empty = report(classes=(ClassFacts(name="a", color=(1, 2, 3), count=0),), tissue_mm2=0.0)
    html = slide_page(
        SlideReport(
            facts=empty.facts,
            overview=empty.overview,
            fields=[],
            findings=(),
            distributions=Distributions(),
            has_region=True,
        )
    )
    assert "0 nuclei" in " ".join(Page(html).text.split())
    assert "region of interest" in html


def test_a_page_of_the_worst_pictures_is_below_4_mb() -> None:
    rng = np.random.default_rng(0)

    def noise(width: int, height: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))

    pictures = {"slide": noise(1600, 1600), "small": noise(2352, 388)}
    pictures |= {f"field {i}": noise(768, 768) for i in range(6)}
    embedded = embed(pictures)
    assert sum(len(each.uri) for each in embedded.values()) < 3_600_000
    assert LIMIT * 4 / 3 < 3_600_000


def test_pictures_are_what_they_were() -> None:
    picture = Image.new("RGB", (64, 32), (120, 40, 90))
    each = embed({"a": picture})["a"]
    data = base64.b64decode(each.uri.partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.format) == ((each.width, each.height), "JPEG")
        assert np.abs(np.asarray(image).astype(int) - (120, 40, 90)).max() <= 2


def test_the_smallest_nuclei_are_shown_in_the_middle_of_their_tiles() -> None:
    part = nuclei()
    plain = np.zeros((768, 768, 3), np.uint8)
    plain[396:404, 596:604] = 255  # the middle of the small nucleus, two pixels for one
    image = Image.fromarray(plain)
    field = FieldPictures(Box(0, 0, 384, 384), 0.25, image, image, (part,))
    sheet = smallest_nuclei([field])
    assert sheet is not None
    first = np.asarray(sheet)[:192, :192, 0]
    rows, columns = np.nonzero(first > 128)
    assert (rows.mean(), columns.mean()) == pytest.approx((95.5, 95.5), abs=1)
    assert smallest_nuclei([]) is None


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_slide_page(report(), tmp_path / "file" / "report.html")
