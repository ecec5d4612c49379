"""The preview shows the nuclei where they are, and always can be drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.errors import OutputError, ReadError
from wsinuc.exports.pictures import preview, slide_pictures
from wsinuc.exports.pictures.drawing import Picture, font, printable, round_length
from wsinuc.exports.pictures.preview import Preview
from wsinuc.exports.pictures.slide_pictures import SlidePictures, resolution
from wsinuc.exports.pictures.strokes import edge_midpoints
from wsinuc.grid import Box
from wsinuc.nuclei import Nuclei, empty
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.measure import measure
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import SlideView
from wsinuc.tissue import Region
from wsinuc.tissue.outlines import Outlines

RED, BLUE = (255, 0, 0), (0, 0, 255)
CLASSES = (NucleusClass("first", RED), NucleusClass("second", BLUE))


def glass(shape: tuple[int, int], mpp: float = 0.5, levels: tuple[int, ...] = (1,)) -> SlideView:
    slide = ArraySlide(np.full((*shape, 3), 240, np.uint8), mpp=mpp, level_downsamples=levels)
    return slide.at(mpp)


def discs(view: SlideView, centers: list[tuple[int, int]], radius: int = 8, kind: int = 0) -> Nuclei:
    labels = np.zeros(view.shape, np.int32)
    for number, (y, x) in enumerate(centers, 1):
        rows, columns = np.ogrid[: view.shape[0], : view.shape[1]]
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    scores = np.zeros((4, *view.shape), np.uint8)
    scores[[0, 2 + kind]] = 255
    return measure(labels, scores, Box.of_shape(view.shape), view.frame, CLASSES).with_ids(1)


def colored(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Pixels that are much nearer to ``color`` than grey is."""
    strong = image[..., int(np.argmax(color))].astype(int) - image[..., int(np.argmin(color))].astype(int)
    return strong > 120


def write_preview(view: SlideView, parts: list[Nuclei], path: Path) -> None:
    picture = Preview(view)
    for part in parts:
        picture.add(part)
    picture.write(path, lambda box: parts)


def test_outlines_lie_where_the_nuclei_are() -> None:
    view = glass((200, 300))
    picture = Picture((200, 300), Box(0, 0, 200, 300))
    picture.draw_outlines(discs(view, [(50, 60), (120, 250)], radius=20))
    rows, columns = np.nonzero(colored(np.asarray(picture.finish(view.read(picture.box))), RED))
    near = np.minimum(np.hypot(rows - 50, columns - 60), np.hypot(rows - 120, columns - 250))
    assert len(near) > 150
    assert np.abs(near - 20.5).max() < 2.5


def test_outlines_lie_there_in_a_small_picture_as_well() -> None:
    view = glass((400, 600))
    picture = Picture((100, 150), Box(0, 0, 400, 600))  # every fourth point of an outline is drawn
    picture.draw_outlines(discs(view, [(200, 300)], radius=80))
    rows, columns = np.nonzero(colored(np.asarray(picture.finish(np.full((100, 150, 3), 240, np.uint8))), RED))
    distance = np.hypot(rows + 0.5 - 50, columns + 0.5 - 75)
    assert np.abs(distance - 20).max() < 1.5
    around = np.unique((np.arctan2(rows - 50, columns - 75) * 16 / np.pi).astype(int))
    assert len(around) >= 31


def test_outlines_are_colored_by_class() -> None:
    view = glass((100, 100))
    picture = Picture((100, 100), Box(0, 0, 100, 100))
    picture.draw_outlines(discs(view, [(50, 50)], kind=1))
    image = np.asarray(picture.finish(view.read(picture.box)))
    assert colored(image, BLUE).sum() > 20
    assert not colored(image, RED).any()


def test_dots_mark_centroids() -> None:
    view = glass((100, 100))
    picture = Picture((50, 50), Box(0, 0, 100, 100))
    picture.draw_dots(discs(view, [(20, 80)]))
    image = np.asarray(picture.finish(np.full((50, 50, 3), 240, np.uint8))).astype(int)
    assert np.unravel_index(image[..., 2].argmin(), image.shape[:2]) == (10, 40)


def test_on_a_narrow_strip_dots_lie_where_nuclei_are() -> None:
    view = glass((2000, 10))
    # Half a pixel more or less of its width says nothing of its length.
    picture = Picture((160, 1), Box(0, 0, 2000, 10))
    picture.draw_dots(discs(view, [(1800, 5)], radius=2))
    image = np.asarray(picture.finish(np.full((160, 1, 3), 240, np.uint8))).astype(int)
    assert image[:, 0, 2].argmin() == 144


@pytest.mark.parametrize("shape", [(1, 1), (40, 30), (700, 600), (300, 3000), (3000, 300), (4000, 2)])
def test_any_shape_of_slide_is_drawn(tmp_path: Path, shape: tuple[int, int]) -> None:
    view = glass(shape)
    write_preview(view, [empty(view.frame, ("a",), (RED,))], tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert max(image.size) < 4500


def test_the_same_bytes_whole_and_in_pieces(tmp_path: Path) -> None:
    view = glass((600, 900))
    nuclei = discs(view, [(100, 100), (130, 140), (400, 700)])
    pieces = [nuclei.select(np.arange(0, 1)), nuclei.select(np.arange(1, 3))]
    for name, parts in (("a", [nuclei]), ("b", pieces)):
        write_preview(view, parts, tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in "ab"}) == 1


def test_the_field_holds_the_densest_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = glass((2000, 2000))
    crowd = [(1500 + 40 * i, 1400 + 40 * j) for i in range(5) for j in range(5)]
    seen: list[Box] = []
    monkeypatch.setattr(preview, "mark_field", lambda picture, box, scale: seen.append(box))
    write_preview(view, [discs(view, [(100, 100), (600, 300), *crowd])], tmp_path / "p.png")
    assert all(seen[0].contains(y, x) for y, x in crowd)


def test_coarse_overviews_get_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 4 um per overview pixel a nucleus is 2 px wide; an outline would be a blot."""
    monkeypatch.setattr(slide_pictures, "OVERVIEW", 100)
    drawn = []
    monkeypatch.setattr(Picture, "draw_dots", lambda self, part: drawn.append(len(part)))
    view = glass((800, 800), levels=(1, 4))
    write_preview(view, [discs(view, [(400, 400)])], tmp_path / "p.png")
    assert drawn == [1]


def test_undecodable_regions_are_white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ArraySlide, box: Box, level: int) -> np.ndarray:
        raise ReadError("damaged")

    view = glass((300, 300))
    monkeypatch.setattr(ArraySlide, "read", broken)
    write_preview(view, [], tmp_path / "p.png")
    assert (tmp_path / "p.png").is_file()


def test_names_of_classes_in_any_script_are_drawn(tmp_path: Path) -> None:
    view = glass((100, 100))
    nuclei = dataclasses.replace(discs(view, [(50, 50)]), class_names=("Épithélium", "核"))
    write_preview(view, [nuclei], tmp_path / "p.png")
    assert printable("Épithélium") == "Epithelium"
    assert printable("核") == "?"


def test_units_are_written_as_people_write_them() -> None:
    missing = bytes(font(20).getmask("\uffff"))
    assert all(bytes(font(20).getmask(sign)) != missing for sign in "µ²")
    assert Preview(glass((1000, 1000)))._caption(None) == "0 nuclei  ·  0.25 mm² of slide  ·  0.5 µm per pixel"


def test_the_slides_own_resolution_is_said() -> None:
    slide = ArraySlide(np.full((800, 800, 3), 240, np.uint8), mpp=0.25)
    assert resolution(slide.at(0.25)) == "0.25 µm per pixel"
    assert resolution(slide.at(0.5)) == "0.25 µm per pixel, segmented at 0.5"


def test_a_field_is_shown_without_and_with_outlines_and_with_the_slides_own_detail() -> None:
    """Stripes of one pixel of the slide are grey for the model, and can be seen in the field."""
    pixels = np.full((800, 800, 3), 250, np.uint8)
    pixels[:, ::2] = 150
    view = ArraySlide(pixels, mpp=0.25).at(0.5)
    pictures = SlidePictures(view)
    nuclei = discs(view, [(200, 200)])
    field = pictures.field(Box(8, 8, 392, 392), lambda box: [nuclei])
    assert field.plain.size == field.outlined.size == (768, 768)
    assert field.mpp == pytest.approx(0.25)
    plain, outlined = np.asarray(field.plain), np.asarray(field.outlined)
    np.testing.assert_array_equal(plain, pixels[16:784, 16:784])
    rows, columns = np.nonzero(colored(outlined, RED))
    assert np.abs(np.hypot(rows + 0.5 - 385, columns + 0.5 - 385) - 17).max() < 2.5
    # What lies inside the line, where the chromatin is, is as it was.
    middle = (slice(375, 395), slice(375, 395))
    np.testing.assert_array_equal(outlined[middle], plain[middle])


def test_the_region_of_interest_is_drawn_where_it_is_and_not_on_the_plain_field() -> None:
    view = glass((400, 600))
    corners = np.array([[100.0, 50.0], [500.0, 50.0], [500.0, 350.0], [100.0, 350.0]])
    region = Region(Outlines(corners, np.array([4]), np.array([1])), "region.geojson")
    pictures = SlidePictures(view, region)
    whole = np.asarray(pictures.overview().picture)
    dark = np.argwhere(whole.max(axis=2) < 60)
    assert dark.min(axis=0).tolist() == pytest.approx([50, 100], abs=1.5)
    assert dark.max(axis=0).tolist() == pytest.approx([350, 500], abs=1.5)
    field = pictures.field(Box(0, 0, 384, 384), lambda box: [])
    assert np.asarray(field.plain).min() == 240
    assert np.asarray(field.outlined).min() < 60


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_preview(glass((50, 50)), [], tmp_path / "file" / "p.png")


def test_edge_midpoints_of_a_pixel_and_of_a_long_bar() -> None:
    pixel = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.int32)
    bar = np.array([[0, 0], [0, 9], [1, 9], [1, 0]], np.int32)
    points, offsets = edge_midpoints(np.concatenate([pixel, bar]), np.array([0, 4, 8]))
    assert points[:4].tolist() == [[0, 0.5], [0.5, 1], [1, 0.5], [0.5, 0]]
    assert offsets.tolist() == [0, 4, 24]


@pytest.mark.parametrize(("um", "round_um"), [(73.0, 50.0), (0.3, 0.2), (1000.0, 1000.0), (999.0, 500.0), (2.0, 2.0)])
def test_scale_bars_have_round_lengths(um: float, round_um: float) -> None:
    assert round_length(um) == pytest.approx(round_um)
