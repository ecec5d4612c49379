"""Groups of measurements in blocks: the same bytes however the slide is cut, and whatever is kept of it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from helpers.nuclei import by_centroid
from helpers.oracle import MPP, OracleSegmenter, plane, scores_of
from wsinuc.grid import BlockGrid, Box
from wsinuc.nuclei import concatenate
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.measured_names import OF_BLOCKS
from wsinuc.nuclei.stains import QUPATH
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.scored import ScoredTile, ScoredTiles
from wsinuc.pipeline.stain_fit import stain_vectors
from wsinuc.recent import Recent
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.view import SlideView
from wsinuc.store.calibration import write_calibration
from wsinuc.tissue import whole

GROUPS = PixelGroups(tuple(sorted(OF_BLOCKS)), QUPATH)
SHAPE = (1300, 1200)


@pytest.fixture(scope="module")
def view() -> SlideView:
    return ArraySlide(plane(SHAPE), mpp=MPP).at(MPP)


@pytest.fixture(scope="module")
def expected(view: SlideView) -> dict[tuple[float, ...], bytes]:
    """The whole image separated and measured at once, by centroid."""
    pixels = plane(SHAPE)
    scores = scores_of(pixels)
    box = Box.of_shape(SHAPE)
    labels = OracleSegmenter().separate(scores)
    nuclei = measure(labels, scores, box, view.frame, OracleSegmenter().classes)
    return by_centroid(GROUPS.added(nuclei, labels, scores[0], pixels, box))


def segmented(view: SlideView, block: int, scored: ScoredTiles | None) -> dict[tuple[float, ...], bytes]:
    segmenter = OracleSegmenter()
    results = [
        process_block(
            view,
            each,
            segmenter,
            batch_size=3,
            tissue=whole(view),
            gate=threading.Lock(),
            scored=scored,
            groups=GROUPS,
        )
        for each in BlockGrid(SHAPE, block, segmenter.min_halo)
    ]
    return by_centroid(concatenate([result.nuclei for result in results]))


@pytest.mark.parametrize("block", [448, 2048])
def test_blocks_measure_what_one_pass_measures(
    view: SlideView, expected: dict[tuple[float, ...], bytes], block: int
) -> None:
    assert len(expected) > 900
    assert segmented(view, block, None) == expected


@pytest.mark.parametrize("pixel_bytes", [10**8, 300_000, 0])
def test_pixels_of_known_tiles_are_kept_or_read_again(
    view: SlideView, expected: dict[tuple[float, ...], bytes], pixel_bytes: int
) -> None:
    scored = ScoredTiles(Recent[ScoredTile](10**9), Recent[np.ndarray](pixel_bytes))
    assert segmented(view, 448, scored) == expected


def test_no_pixels_are_kept_where_none_are_measured(view: SlideView) -> None:
    pixels = Recent[np.ndarray](10**8)
    scored = ScoredTiles(Recent[ScoredTile](10**9), pixels)
    segmenter = OracleSegmenter()
    block = BlockGrid(SHAPE, 2048, segmenter.min_halo)[0]
    process_block(
        view,
        block,
        segmenter,
        batch_size=3,
        tissue=whole(view),
        gate=threading.Lock(),
        scored=scored,
        groups=PixelGroups(("shape",)),
    )
    assert len(pixels._pairs) == 0


def tissue_slide() -> SlideView:
    """Purple nuclei on pink."""
    rng = np.random.default_rng(0)
    labels = OracleSegmenter().separate(scores_of(plane((600, 600))))
    strength = rng.uniform(0.6, 1.4, (600, 600, 1))
    density = np.where(labels[..., None] > 0, [0.42, 0.55, 0.25], [0.04, 0.35, 0.14]) * strength
    return ArraySlide((255 * 10**-density).round().astype(np.uint8), mpp=MPP).at(MPP)


def test_fitted_stain_vectors_are_kept(tmp_path: Path) -> None:
    slide = tissue_slide()
    fitted = stain_vectors("fitted", slide, whole(slide), tmp_path / "stains")
    assert fitted.name == "fitted"
    for vector, true in ((fitted.haematoxylin, (0.42, 0.55, 0.25)), (fitted.eosin, (0.04, 0.35, 0.14))):
        cosine = np.dot(vector, true) / np.linalg.norm(true)
        assert np.degrees(np.arccos(min(1.0, cosine))) < 2
    # The slide is not looked at again.
    white = ArraySlide(np.full((600, 600, 3), 255, np.uint8), mpp=MPP).at(MPP)
    assert stain_vectors("fitted", white, whole(white), tmp_path / "stains") == fitted


def test_a_slide_without_stain_is_measured_with_fixed_vectors(tmp_path: Path) -> None:
    white = ArraySlide(np.full((600, 600, 3), 255, np.uint8), mpp=MPP).at(MPP)
    assert stain_vectors("fitted", white, whole(white), tmp_path / "stains") == QUPATH
    assert stain_vectors("fitted", white, whole(white), tmp_path / "stains") == QUPATH


def test_a_file_that_is_no_stain_vectors_counts_for_nothing(tmp_path: Path) -> None:
    slide = tissue_slide()
    fitted = stain_vectors("fitted", slide, whole(slide), tmp_path / "stains")
    write_calibration({"haematoxylin": np.zeros(2, np.float32)}, tmp_path / "odd")
    assert stain_vectors("fitted", slide, whole(slide), tmp_path / "odd") == fitted
