"""Tissue on which a model should stay as it is keeps off what is annotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.files.annotations import collection, drawn, square, write
from helpers.files.datasets import write_images
from helpers.files.slides import random_pixels, write_pyramid
from wsinuc import tissue
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.sampling import pixels
from wsinuc.errors import DataError
from wsinuc.workflows.adapt.gather import Material, gather_material
from wsinuc.workflows.adapt.tune import squares_beside
from wsinuc.workflows.data import sources

MPP = 0.25


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A small slide with two regions, and a nucleus in each."""
    features = [
        drawn("Region*", square(100, 40, 200, 120)),
        drawn("Region*", square(300, 210, 380, 330)),
        drawn("Tumor", square(110, 50, 120, 60)),
        drawn("Tumor", square(310, 220, 320, 230)),
    ]
    folder = tmp_path / "slides"
    folder.mkdir()
    write(folder / "a.geojson", collection(*features))
    return write_pyramid(folder / "a.tif", [random_pixels()])


def gathered(dataset: Dataset, *rest: object, mpp: float = MPP) -> Material:
    return gather_material([dataset], rest, mpp=mpp, file_mpp=MPP, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("as_tissue", [False, True])
def test_fields_of_a_slide_know_which_of_their_pixels_are_annotated(
    slide: Path, as_tissue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if as_tissue:
        monkeypatch.setattr(sources, "SMALL_PX", 0)
        monkeypatch.setattr(pixels, "find_tissue", tissue.whole)
        monkeypatch.setattr("wsinuc.workflows.adapt.windows.tissue_samples", lambda view, found: None)
    windows = open_dataset(slide)
    # A part that learns from the first region alone leaves the second one out, too.
    for field in gathered(windows[:1]).rest:
        first, second = field.annotated
        assert np.array_equal(field.pixels[first.slices], windows[0].image)
        assert np.array_equal(field.pixels[second.slices], windows[1].image)
        squares = squares_beside(field.pixels.shape[:2], field.annotated, 64)
        assert 0 < len(squares) < len(squares_beside(field.pixels.shape[:2], (), 64))


def test_annotated_parts_are_found_at_another_resolution(slide: Path) -> None:
    field = gathered(open_dataset(slide), mpp=0.5).rest[0]
    for box, (height, width) in zip(field.annotated, [(40, 50), (60, 40)], strict=True):
        assert 0 <= box.shape[0] - height <= 1
        assert 0 <= box.shape[1] - width <= 1


def test_the_annotated_images_themselves_are_no_rest(slide: Path, tmp_path: Path) -> None:
    images = [
        LabelledImage(
            name=name, image=random_pixels(60, 60, seed), labels=np.eye(60, dtype=np.int32), attributes={}, mpp=MPP
        )
        for seed, name in enumerate("ab")
    ]
    own = open_dataset(write_images(tmp_path / "own", images), mpp=MPP)
    other = write_images(tmp_path / "other", images[:1])
    for rest in (own.path, own, own[1:], own.path / "images", own.path / "images" / "b.png"):
        with pytest.raises(DataError, match="all that --rest names is annotated"):
            gathered(own[:1], rest)
    fields = gathered(own, own.path / "images", other / "images").rest
    assert all(np.array_equal(field.pixels, images[0].image) and not field.annotated for field in fields)
    # A slide among others is known by its file.
    assert {len(field.annotated) for field in gathered(open_dataset(slide), slide.parent).rest} == {2}


def test_every_slide_that_windows_lie_on_is_tissue_whatever_names_it(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SMALL_PX", 0)
    monkeypatch.setattr(pixels, "find_tissue", tissue.whole)
    monkeypatch.setattr(
        "wsinuc.workflows.adapt.windows.tissue_samples", lambda view, found: np.full((1, 2, 2, 3), view.shape[0])
    )
    write_pyramid(slide.with_name("b.tif"), [random_pixels(300, 420, seed=1)])
    table = tmp_path / "slides.csv"
    table.write_text("slide,annotations,patient\nslides/a.tif,slides/a.geojson,P1\nslides/b.tif,slides/a.geojson,P2\n")
    for named in (open_dataset(table), open_dataset(f"qupath={slide.parent}")):
        material = gathered(named)
        assert {field.windows[0].image.attributes["slide"]: int(field.samples.max()) for field in material.fields} == (
            {"a": 401, "b": 300} if named.path == table else {"a": 401}
        )
        drawn = {field.pixels.shape[:2]: len(field.annotated) for field in material.rest}
        assert drawn == ({(401, 512): 2, (300, 420): 2} if named.path == table else {(401, 512): 2})
