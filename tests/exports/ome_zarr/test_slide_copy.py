"""The slide's pixels beside the labels: which they are, where they lie, and what is copied where nothing was done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image

from helpers.oracle import CLASSES, plane
from wsinuc.errors import ConfigError
from wsinuc.exports.ome_zarr import slide_copy
from wsinuc.exports.ome_zarr.arrays import mean_of_four
from wsinuc.exports.ome_zarr.copy_plan import plan_copy
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.exports.ome_zarr.slide_copy import write_copy
from wsinuc.grid import BlockGrid, Box
from wsinuc.pipeline.run import run_blocks
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import SlideView

SHAPE = (2200, 1500)


@pytest.fixture(scope="module")
def view() -> SlideView:
    """0.25 um per pixel, read at 0.5, with levels of 0.25, 1 and 8 um."""
    pixels = plane(SHAPE)
    # Tissue is never white, and shades tell pixels apart.
    pixels[..., 2] = 255 - (np.add.outer(np.arange(SHAPE[0]), np.arange(SHAPE[1])) // 8 % 200).astype(np.uint8)
    return ArraySlide(pixels, mpp=0.25, level_downsamples=(1, 4, 32)).at(0.5)


def rounded(pixels: np.ndarray) -> np.ndarray:
    return np.minimum(np.round(pixels / 4 + 1e-6) * 4, 255).astype(np.uint8)


def copied(view: SlideView, path: Path, image: str, **options: object) -> zarr.Group:
    """A container without nuclei, with a copy of the slide."""
    canvas = write_copy(plan_copy(view, image), path, **options)  # type: ignore[arg-type]
    render_labels(
        lambda index: None, BlockGrid(view.shape, 1024, 64), path, mpp=view.mpp, classes=CLASSES, canvas=canvas
    )
    return zarr.open_group(path, mode="r")


def test_a_thumbnail_is_the_level_near_1_um_as_it_is_in_64_shades(view: SlideView, tmp_path: Path) -> None:
    root = copied(view, tmp_path / "a.zarr", "thumbnail")
    level = view.slide.read(Box.of_shape((550, 375)), 1)
    np.testing.assert_array_equal(root["0"][:], rounded(level).transpose(2, 0, 1))
    assert len(np.unique(root["0"][:])) <= 65


def test_a_full_copy_is_every_pixel_of_the_view(view: SlideView, tmp_path: Path) -> None:
    root = copied(view, tmp_path / "a.zarr", "full")
    np.testing.assert_array_equal(root["0"][:], view.read(Box.of_shape(view.shape)).transpose(2, 0, 1))
    np.testing.assert_array_equal(root["1"][:], mean_of_four(root["0"][:]))


def test_no_copy_is_a_white_canvas_that_takes_no_room(view: SlideView, tmp_path: Path) -> None:
    root = copied(view, tmp_path / "a.zarr", "none")
    assert root["0"].shape == (3, *view.shape)
    assert (root["0"][:] == 255).all()
    assert all(path.name == "zarr.json" for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())


@pytest.mark.parametrize("image", ["none", "thumbnail", "full"])
def test_the_format_is_valid_and_copy_and_labels_cover_the_same_area(
    view: SlideView, tmp_path: Path, image: str
) -> None:
    root = copied(view, tmp_path / "a.zarr", image)
    # Refuses labels with another number of levels than their image.
    assert Image.from_zarr(root).labels is not None
    label = root["labels/nuclei"].attrs["ome"]["multiscales"][0]["datasets"]
    canvas = root.attrs["ome"]["multiscales"][0]["datasets"]
    for name, dataset in zip("012", canvas, strict=False):
        scale, *shift = dataset["coordinateTransformations"]
        translation = shift[0]["translation"] if shift else [0.0] * 3
        for axis, length in enumerate(view.shape, start=1):
            um = scale["scale"][axis]
            # The outer edges: half a pixel before the centre of the first one, half a pixel behind that of the last.
            begin = translation[axis] - um / 2
            assert begin == pytest.approx(-view.mpp / 2)
            assert abs(begin + root[name].shape[axis] * um - (length * view.mpp - view.mpp / 2)) < um
    assert label[0]["coordinateTransformations"] == [{"type": "scale", "scale": [0.5, 0.5]}]


def test_a_viewer_is_told_what_to_show(view: SlideView, tmp_path: Path) -> None:
    root = copied(view, tmp_path / "a.zarr", "thumbnail")
    channels = root.attrs["ome"]["omero"]["channels"]
    assert [channel["color"] for channel in channels] == ["FF0000", "00FF00", "0000FF"]
    assert all(channel["window"] == {"min": 0, "max": 255, "start": 0, "end": 255} for channel in channels)
    assert all(channel["active"] for channel in channels)
    assert [axis["name"] for axis in root.attrs["ome"]["multiscales"][0]["axes"]] == ["c", "y", "x"]
    # napari-ome-zarr hides label images unless a channel is active, and hands its window on to a layer that refuses it.
    shown = root["labels/nuclei_class"].attrs["ome"]
    assert [channel["active"] for channel in shown["omero"]["channels"]] == [True]
    assert "window" not in shown["omero"]["channels"][0]
    assert shown["image-label"]["colors"][1] == {"label-value": 1, "rgba": [200, 40, 40, 255]}
    assert "omero" not in root["labels/nuclei"].attrs["ome"]


def test_where_nothing_was_done_the_copy_shows_the_coarse_level(view: SlideView, tmp_path: Path) -> None:
    slide = view.slide
    root = copied(view, tmp_path / "a.zarr", "thumbnail", is_wanted=lambda box: False)
    coarse = slide.read(Box.of_shape(slide.level_shapes[2]), 2)
    rows = np.minimum(np.arange(550) // 8, coarse.shape[0] - 1)
    columns = np.minimum(np.arange(375) // 8, coarse.shape[1] - 1)
    expected = rounded(coarse[np.ix_(rows, columns)]).transpose(2, 0, 1)
    np.testing.assert_array_equal(root["0"][:], expected)


def test_a_slide_of_one_level_is_copied_whole_if_small_else_white_where_nothing_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ArraySlide(plane((600, 600)), mpp=0.5).at(0.5)
    whole = copied(view, tmp_path / "a.zarr", "full", is_wanted=lambda box: False)
    np.testing.assert_array_equal(whole["0"][:], plane((600, 600)).transpose(2, 0, 1))
    monkeypatch.setattr(slide_copy, "_SMALL", 600 * 600 - 1)
    root = copied(view, tmp_path / "b.zarr", "full", is_wanted=lambda box: False)
    assert (root["0"][:] == 255).all()


def test_wanted_boxes_are_asked_for_in_pixels_of_the_labels(view: SlideView, tmp_path: Path) -> None:
    asked: list[Box] = []
    copied(view, tmp_path / "a.zarr", "thumbnail", is_wanted=lambda box: bool(asked.append(box)) or True)
    assert asked == [Box.of_shape(view.shape)]


def test_threads_change_no_byte(view: SlideView, tmp_path: Path) -> None:
    def for_each(job, blocks) -> None:
        for _ in run_blocks(job, list(blocks)[::-1], 4):
            pass

    copied(view, tmp_path / "a.zarr", "full")
    copied(view, tmp_path / "b.zarr", "full", for_each=for_each)
    first, second = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "a.zarr", tmp_path / "b.zarr")
    )
    assert first == second


def test_a_slide_that_is_coarser_than_a_thumbnail_is_copied_as_it_is() -> None:
    view = ArraySlide(plane((300, 300)), mpp=1.2).at(1.2)
    assert plan_copy(view, "thumbnail").pixels == view


def test_an_unknown_copy_is_refused(view: SlideView) -> None:
    with pytest.raises(ConfigError, match="must be one of none, thumbnail, full, got 'half'"):
        plan_copy(view, "half")
