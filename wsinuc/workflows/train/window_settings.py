"""What a training does not learn but has to choose: threshold, height of markers, the meaning of probabilities.

All are fitted to windows as models see them that have not learned from them. Sampling that favours
nuclei leaves probabilities high, and on the pixels that it has learned from a model is surer than
anywhere else; held-out windows show neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from wsinuc.metrics.calibration import Verdicts, certainty, fit_certainty
from wsinuc.metrics.segmentation import score
from wsinuc.segmenters.base import Certainty
from wsinuc.separation.channels import FOREGROUND
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.train.held_out_window import HeldOutWindow
from wsinuc.workflows.train.threshold import best_level

HEIGHTS = (0.05, 0.1, 0.15, 0.2)
"""Heights of markers that are tried; 0.1 is the usual one."""
GAIN = 0.005
"""AJI that another height than the usual one has to gain: less is chance on some hundred nuclei."""
FEWEST_VERDICTS = 10
"""Nuclei that must be right, and that must be wrong, before probabilities are corrected."""
UNCORRECTED: Certainty = (1.0, 0.0)


def fit_watershed(windows: Sequence[HeldOutWindow], start: WatershedSettings, *, heights: bool) -> WatershedSettings:
    """The threshold with the best Dice and, with ``heights``, the height of markers with the best AJI."""
    settings = replace(start, foreground_threshold=_threshold(windows))
    annotated = [window for window in windows if window.labels.any()]
    if not heights or not annotated:
        return settings
    by_height = {height: replace(settings, marker_height=height) for height in (start.marker_height, *HEIGHTS)}
    scores = {height: _mean_aji(annotated, tried) for height, tried in by_height.items()}
    best = max(scores, key=lambda height: scores[height])
    if scores[best] < scores[start.marker_height] + GAIN:
        return settings
    return by_height[best]


def fit_probabilities(verdicts: Verdicts) -> Certainty:
    """The line that makes probabilities mean what they say; `UNCORRECTED` where too few nuclei are right or wrong."""
    right = int(verdicts.right.sum())
    if min(right, len(verdicts.right) - right) < FEWEST_VERDICTS:
        return UNCORRECTED
    line = fit_certainty(verdicts.probabilities, verdicts.right)
    # Falling probabilities would turn the order of nuclei round: such a line has learned an accident.
    if line[0] <= 0:
        return UNCORRECTED
    return line


def corrected(verdicts: Verdicts, line: Certainty) -> Verdicts:
    """The verdicts with probabilities as a model with this line would give them."""
    return replace(verdicts, probabilities=certainty(verdicts.probabilities, line))


def _threshold(windows: Sequence[HeldOutWindow]) -> float:
    inside: NDArray[np.int64] = np.zeros(256, np.int64)
    outside: NDArray[np.int64] = np.zeros(256, np.int64)
    for window in windows:
        nuclei = window.labels > 0
        inside += np.bincount(window.scores[FOREGROUND][nuclei], minlength=256)
        outside += np.bincount(window.scores[FOREGROUND][~nuclei & ~window.ignore], minlength=256)
    return best_level(inside, outside) / 255


def _mean_aji(windows: Sequence[HeldOutWindow], settings: WatershedSettings) -> float:
    return fmean(score(window.labels, window.separated(settings)).aji for window in windows)
