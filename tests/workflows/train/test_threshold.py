"""The foreground threshold: the level with the highest Dice, whatever the scale of a model's probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.oracle import OracleSegmenter, plane
from wsinuc.datasets.base import LabelledImage
from wsinuc.workflows.train.threshold import best_level, fit_threshold


def histogram(levels: list[int]) -> np.ndarray:
    return np.bincount(levels, minlength=256)


def test_separable_levels_are_cut_in_their_middle() -> None:
    assert best_level(histogram([120] * 9), histogram([80] * 9)) == pytest.approx((81 + 120) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_level_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside, outside = rng.binomial(255, 0.5, 4000), rng.binomial(255, 0.42, 20_000)

    def dice(level: float) -> float:
        called = (inside >= level).sum() + (outside >= level).sum()
        return float(2 * (inside >= level).sum() / (called + len(inside)))

    chosen = best_level(histogram(inside), histogram(outside))
    assert dice(round(chosen)) >= max(dice(level) for level in range(51, 205)) - 0.003


def test_extremes_stay_in_range() -> None:
    assert 51 <= best_level(histogram([1] * 5), histogram([255] * 5)) <= 204
    assert 51 <= best_level(histogram([]), histogram([])) <= 204


class Timid(OracleSegmenter):
    """Knows the answer and says it at 0.25 where nuclei are."""

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return (super().predict(pixels) > 127).astype(np.uint8) * 64


def test_a_timid_model_gets_a_low_threshold() -> None:
    pixels = plane((400, 400))
    labels = (pixels[..., 0] < 128).astype(np.int32)
    image = LabelledImage(name="a", image=pixels, labels=labels, attributes={}, mpp=OracleSegmenter().mpp)
    assert 0.2 <= fit_threshold(Timid(), [image]) < 0.26
    assert fit_threshold(OracleSegmenter(), [image]) == pytest.approx(0.5, abs=0.02)
