"""Figures of pixels, with scikit-learn as judge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from wsinuc.metrics.pixels import count_pixels


@pytest.mark.parametrize("seed", range(20))
def test_scikit_learn_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (5, 6))
    predicted = rng.integers(0, rng.integers(1, 5), (5, 6))
    counts = count_pixels(truth, predicted, 3)
    pair = (truth.ravel(), predicted.ravel())
    occurring = sorted({*pair[0].tolist(), *pair[1].tolist()})
    nuclei = [number for number in occurring if number]
    assert counts.accuracy == pytest.approx(accuracy_score(*pair))
    assert counts.mean_iou == pytest.approx(jaccard_score(*pair, labels=nuclei, average="macro"))
    assert counts.mean_iou_with_background == pytest.approx(jaccard_score(*pair, labels=occurring, average="macro"))
    for number in occurring:
        one = pair[0] == number
        other = pair[1] == number
        # A class that occurs has both figures; the others may be a share of nothing.
        assert counts.iou[number] == pytest.approx(jaccard_score(one, other))
        assert counts.dice[number] == pytest.approx(f1_score(one, other))
        found = [counts.sensitivity[number], counts.precision[number], counts.specificity[number]]
        expected = [
            recall_score(one, other, zero_division=np.nan),
            precision_score(one, other, zero_division=np.nan),
            recall_score(one, other, pos_label=0, zero_division=np.nan),
        ]
        np.testing.assert_allclose(found, expected)
