"""``wsinuc.segment_image``: what a slide gives, from memory; and what is no image."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import wsinuc
from helpers.oracle import MPP, OracleSegmenter
from wsinuc.errors import ConfigError, DataError, MppError
from wsinuc.workflows.segment import image

RED = (200, 40, 40)
BLUE = (40, 90, 200)


@pytest.fixture(scope="module")
def pixels(slide: Path) -> NDArray[np.uint8]:
    with wsinuc.open_slide(slide, mpp=MPP) as opened:
        return opened.read(wsinuc.Box.of_shape(opened.level_shapes[0]))


@pytest.fixture(scope="module")
def segmented(pixels: NDArray[np.uint8]) -> wsinuc.SegmentedImage:
    return wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter())


def test_an_image_has_the_nuclei_and_labels_that_its_slide_has(
    pixels: NDArray[np.uint8], reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reference was made in blocks of that size, which decide the order of ids.
    monkeypatch.setattr(image, "BLOCK", 256)
    found = wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter())
    result = wsinuc.read(reference)
    table = result.nuclei().drop_columns(["uuid"])
    assert found.to_arrow().cast(table.schema).equals(table)
    assert np.array_equal(found.labels, np.asarray(result.labels))
    assert found.counts == result.counts


def test_ids_alone_depend_on_the_blocks(
    segmented: wsinuc.SegmentedImage, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "BLOCK", 384)
    other = wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter())
    areas = segmented.to_arrow()["area_px"].to_pylist()
    assert sorted(other.to_arrow()["area_px"].to_pylist()) == sorted(areas)
    assert np.array_equal(other.labels > 0, segmented.labels > 0)


@pytest.mark.parametrize("form", ["array", "pil", "view", "list"])
def test_whatever_holds_rgb_is_an_image(form: str, pixels: NDArray[np.uint8], segmented: wsinuc.SegmentedImage) -> None:
    crop = pixels[:96, :128]
    forms = {"array": crop.copy(), "pil": Image.fromarray(crop), "view": crop, "list": np.ma.masked_array(crop)}
    found = wsinuc.segment_image(forms[form], mpp=MPP, segmenter=OracleSegmenter())
    assert found.image.shape == (96, 128, 3)
    assert found.labels.shape == (96, 128)
    assert found.labels.dtype == np.int32
    assert len(found) == found.labels.max() > 0


def test_labels_have_the_size_of_an_image_at_another_resolution(pixels: NDArray[np.uint8]) -> None:
    fine = np.repeat(np.repeat(pixels[:150, :100], 2, axis=0), 2, axis=1)
    found = wsinuc.segment_image(fine, mpp=MPP / 2, segmenter=OracleSegmenter())
    plain = wsinuc.segment_image(pixels[:150, :100], mpp=MPP, segmenter=OracleSegmenter())
    assert found.labels.shape == (300, 200)
    assert np.array_equal(found.labels, found.labels[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert found.mm2 == pytest.approx(plain.mm2)
    # Shrinking looks at neighbouring pixels, so that a border may move by one.
    assert np.allclose(found.to_arrow()["x"].to_numpy(), 2 * plain.to_arrow()["x"].to_numpy(), atol=0.5)


def test_measurements_are_those_that_are_asked_for(pixels: NDArray[np.uint8]) -> None:
    crop = pixels[:128, :128]
    none = wsinuc.segment_image(crop, mpp=MPP, segmenter=OracleSegmenter(), measure="none").to_arrow()
    more = wsinuc.segment_image(crop, mpp=MPP, segmenter=OracleSegmenter(), measure="shape,stain,neighbours").to_arrow()
    assert "haematoxylin_mean" not in none.column_names
    names = set(more.column_names) - set(none.column_names)
    assert any("haematoxylin" in name for name in names)
    assert any("neighbour" in name or "nearest" in name for name in names)


def distance(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    """How far the pixel that is most like a colour is from it."""
    return int(np.abs(picture.astype(np.int16) - color).max(axis=2).min())


def test_the_overlay_has_lines_in_the_colours_of_the_classes(segmented: wsinuc.SegmentedImage) -> None:
    picture = segmented.overlay()
    assert picture.shape == segmented.image.shape
    assert picture.dtype == np.uint8
    for color in (RED, BLUE):
        assert distance(picture, color) < 25 < distance(segmented.image, color)
    # Most of the picture is as it was.
    assert (picture == segmented.image).all(axis=2).mean() > 0.5


def test_it_shows_itself(segmented: wsinuc.SegmentedImage) -> None:
    assert repr(segmented) == f"<wsinuc.SegmentedImage: {len(segmented):,} nuclei in 900 x 700 px of 0.5 um>"
    page = segmented._repr_html_()
    assert "<td>round</td>" in page
    assert "data:image/png;base64," in page


def test_it_goes_to_qupath(segmented: wsinuc.SegmentedImage, tmp_path: Path) -> None:
    segmented.to_geojson(tmp_path / "tile.geojson")
    report = wsinuc.check_geojson(tmp_path / "tile.geojson")
    assert (report.ok, report.count) == (True, len(segmented))
    first = (tmp_path / "tile.geojson").read_bytes()
    segmented.to_geojson(str(tmp_path / "tile.geojson"))
    assert (tmp_path / "tile.geojson").read_bytes() == first, "nuclei keep their UUIDs"


def test_nothing_is_found_on_glass() -> None:
    glass = np.full((70, 60, 3), 255, np.uint8)
    found = wsinuc.segment_image(glass, mpp=MPP, segmenter=OracleSegmenter(), measure="shape,stain,neighbours")
    assert len(found) == 0
    assert not found.labels.any()
    assert np.array_equal(found.overlay(), glass)
    assert found.to_arrow().num_rows == 0


def test_threads_and_dask_share_a_segmenter(pixels: NDArray[np.uint8]) -> None:
    segmenter = wsinuc.load_segmenter("student", device="cpu")
    tile = pixels[:128, :128]

    def labels(seed: int) -> NDArray[np.int32]:
        return wsinuc.segment_image(tile, mpp=MPP, segmenter=segmenter).labels

    alone = labels(0)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(labels, range(3)))
    together += dask.compute(*[dask.delayed(labels)(seed) for seed in range(2)], scheduler="threads")
    assert all(np.array_equal(each, alone) for each in together)


def test_a_segmenter_that_was_pickled_gives_the_same(pixels: NDArray[np.uint8]) -> None:
    segmenter = wsinuc.load_segmenter("student", device="cpu")
    copy = pickle.loads(pickle.dumps(segmenter))
    tile = pixels[:128, :128]
    first, second = (wsinuc.segment_image(tile, mpp=MPP, segmenter=each).labels for each in (segmenter, copy))
    assert copy.identity == segmenter.identity
    assert np.array_equal(first, second)


GOOD = np.full((8, 8, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("bad", "advice"),
    [
        (None, "PIL.Image.open"),
        ("tile.png", "PIL.Image.open"),
        (Path("tile.png"), "PIL.Image.open"),
        ([[1], [2, 3]], ""),
        (GOOD / 255, "img_as_ubyte"),
        (GOOD.astype(np.uint16), "img_as_ubyte"),
        (GOOD[..., 0], r"\.convert\('RGB'\)"),
        (np.dstack([GOOD, GOOD[..., :1]]), r"image\[..., :3\]"),
        (Image.fromarray(GOOD).convert("RGBA"), r"image\[..., :3\]"),
        (np.zeros((0, 4, 3), np.uint8), "no pixel"),
        (np.moveaxis(np.zeros((8, 9, 3), np.uint8), -1, 0), "moveaxis"),
        (GOOD[None], "one by one"),
        (GOOD[..., :2], "red, green and blue"),
    ],
    ids=[
        "none",
        "name",
        "path",
        "ragged",
        "floats",
        "16-bit",
        "grey",
        "alpha",
        "pil-alpha",
        "empty",
        "channels-first",
        "batch",
        "two-channels",
    ],
)
def test_what_is_no_rgb_image_is_refused_with_advice(bad: object, advice: str) -> None:
    with pytest.raises(DataError, match=rf"expected an RGB image as uint8 \(height, width, 3\), got .*{advice}"):
        wsinuc.segment_image(bad, mpp=MPP, segmenter=OracleSegmenter())  # type: ignore[arg-type]


@pytest.mark.parametrize("mpp", [None, "0.5", [0.5], True, -1, 0, float("nan"), 10**400, 1.9])
def test_a_resolution_that_is_none_is_refused(mpp: object) -> None:
    with pytest.raises(MppError):
        wsinuc.segment_image(GOOD, mpp=mpp, segmenter=OracleSegmenter())  # type: ignore[arg-type]


def test_other_arguments_are_looked_at() -> None:
    with pytest.raises(ConfigError, match=r"expected a segmenter as wsinuc\.load_segmenter gives it, got 'fast'"):
        wsinuc.segment_image(GOOD, mpp=MPP, segmenter="fast")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="whole slide, which an image is not"):
        wsinuc.segment_image(GOOD, mpp=MPP, segmenter=OracleSegmenter(), stains="fitted")
    with pytest.raises(ConfigError, match="measure must be text"):
        wsinuc.segment_image(GOOD, mpp=MPP, segmenter=OracleSegmenter(), measure=3)  # type: ignore[arg-type]
