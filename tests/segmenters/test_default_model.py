"""The models that ship: they load, find what is there, and keep their accuracy on patients that
none of them has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.datasets import open_dataset
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.segmenters import WEIGHTS, load_segmenter, model_path, shipped_models
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.slides import open_slide
from wsinuc.workflows.evaluate.run import evaluate, predict_labels

EXAMPLE = Path(__file__).parents[2] / "examples" / "data" / "CMU-1-Small-Region.svs"
TNBC = Path(__file__).parents[3] / "shared" / "data" / "tnbc"
HELD_OUT = {"patient": frozenset({"09", "10", "11"})}


NAMES = ("accurate", "diffusion", "fast", "student", "student-tnbc")
DICE_AJI = {"accurate": (0.79, 0.64), "diffusion": (0.78, 0.62), "fast": (0.78, 0.62), "student": (0.77, 0.61)}
"""On the held-out patients, a little below what docs/experiments/2026-11-29-results.md has."""


@pytest.fixture(scope="module", params=["accurate", "fast"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """With tiles that are small enough for a test."""
    segmenter = load_segmenter(request.param, device="cpu")
    assert isinstance(segmenter, TiledSegmenter)
    return segmenter.with_core(256)


def test_they_ship_and_say_where_they_come_from() -> None:
    assert set(shipped_models()) == {"default", "breast", *NAMES}
    for name in shipped_models():
        checkpoint = load_checkpoint(model_path(name), "segmenter")
        assert "monuseg" not in str(checkpoint.provenance).lower()
    assert "09-11" in load_checkpoint(model_path("accurate"), "segmenter").provenance["data"]
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 40e6


def test_the_breast_model_names_the_nuclei_of_the_default_model() -> None:
    breast = load_segmenter("breast", device="cpu")
    assert [item.name for item in breast.classes] == ["Lymphocyte", "Epithelial", "Stromal"]
    fast = load_checkpoint(model_path("fast"), "segmenter").config
    assert load_checkpoint(model_path("breast"), "segmenter").config["base"] == fast


def test_scores_depend_on_nothing_else_in_the_batch_and_glass_holds_no_nuclei(segmenter: Segmenter) -> None:
    """The block task relies on it: the same tile beside other tiles gives the same bytes."""
    with open_slide(EXAMPLE) as slide:
        pixels = np.asarray(slide.thumbnail(1024))
    shape = (segmenter.tile, segmenter.tile, 3)
    tiles = np.stack([np.resize(np.roll(pixels, shift, 0), shape) for shift in (0, 37)])
    scores, glass = segmenter.predict(np.stack([tiles[0], np.full_like(tiles[0], 245)]))
    assert np.array_equal(segmenter.predict(tiles)[0], scores)
    assert segmenter.separate(glass).max() == 0
    assert segmenter.batch_size == 1, "on a CPU, where the slot in a batch can change the last bit"


@pytest.mark.slow
@pytest.mark.skipif(not TNBC.is_dir(), reason="needs the TNBC data set beside the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_held_out_patients(name: str) -> None:
    segmenter, (dice, aji) = load_segmenter(name, device="cpu"), DICE_AJI[name]
    assert isinstance(segmenter, TiledSegmenter)
    segmenter = segmenter.with_core(512)  # the images' side: no half-empty tiles
    dataset = open_dataset(TNBC, mpp=0.25).where(HELD_OUT)
    means = evaluate(dataset, lambda image: predict_labels(image, segmenter=segmenter, batch_size=1)).means
    assert means["dice"] >= dice
    assert means["aji"] >= aji


@pytest.mark.parametrize("segmenter", ["fast", pytest.param("accurate", marks=pytest.mark.slow)], indirect=True)
def test_an_image_at_another_resolution_gives_as_many_nuclei(segmenter: Segmenter, tmp_path: Path) -> None:
    """The same tissue at 0.25 and 0.5 um/px: resampling is by resolution, not by pixels."""
    from wsinuc.datasets.base import LabelledImage
    from wsinuc.grid import Box

    with open_slide(EXAMPLE) as slide:
        half = slide.read(Box(1000, 600, 1448, 1048), 0)
    fine = np.asarray(Image.fromarray(half).resize((896, 896), Image.Resampling.BICUBIC))
    counts = []
    for pixels, mpp in ((half, 0.499), (fine, 0.2495)):
        sample = LabelledImage(
            name="x", image=pixels, labels=np.zeros(pixels.shape[:2], np.int32), attributes={}, mpp=mpp
        )
        counts.append(len(np.unique(predict_labels(sample, segmenter=segmenter, batch_size=1))) - 1)
    assert counts[0] > 20
    assert abs(counts[0] - counts[1]) <= 0.15 * counts[0]
