"""What a training does not learn but has to choose: threshold, height of markers, the meaning of probabilities.

All are fitted to windows as models see them that have not learned from them. Sampling that favours
nuclei leaves probabilities high, and on the pixels that it has learned from a model is surer than
anywhere else; held-out windows show neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache
from math import fsum

from wsinuc.metrics.calibration import Verdicts, certainty, fit_certainty
from wsinuc.metrics.choosing import Judged, nuclear_share, usual_share
from wsinuc.segmenters.base import Certainty
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.train.held_out_window import HeldOutWindow

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
"""Thresholds that are tried beside the one at the start."""
TOLERANCE = 0.01
"""Thresholds whose mean AJI, over windows with nuclei, is this close to the highest count as equally good; the one
nearest to the start is taken."""
HEIGHTS = (0.03, 0.05, 0.1, 0.15, 0.2)
"""Heights of markers that are tried; 0.1 is the usual one."""
FEWEST_VERDICTS = 10
"""Nuclei that must be right, and that must be wrong, before probabilities are corrected."""
STEEPEST = 10.0
"""Largest slope and offset of a correction; those of models that were measured on thousands of nuclei are below 4."""
UNCORRECTED: Certainty = (1.0, 0.0)


Merit = Callable[[int, WatershedSettings], float]
"""How well a window, by its number, is separated under settings; see `wsinuc.metrics.choosing`."""


def merits_of_windows(windows: Sequence[HeldOutWindow]) -> Merit:
    """The merit of each window, separated once for each settings however often it is asked for."""
    usual = usual_share(nuclear_share(window.labels, window.ignore) for window in windows)

    @cache
    def merit(number: int, settings: WatershedSettings) -> float:
        window = windows[number]
        return Judged.of(window.labels, window.separated(settings), window.ignore).merit(usual)

    return merit


def fit_watershed(
    windows: Sequence[int],
    merit: Merit,
    start: WatershedSettings,
    *,
    nuclear: Collection[int],
    heights: bool = False,
) -> WatershedSettings:
    """The threshold and, with ``heights``, then the height of markers that suit windows by their merit.

    Parameters
    ----------
    windows
        Numbers of the windows that decide.
    merit
        What is asked often: it should remember what it has said.
    nuclear
        Numbers of windows that show nuclei; where none of ``windows`` does, the settings stay.
    """
    count = sum(number in nuclear for number in windows)
    if not count:
        return start

    def mean(settings: WatershedSettings) -> float:
        # Of the windows with nuclei: others that are all free of false ones must not bring settings closer together.
        return fsum(merit(number, settings) for number in windows) / count

    usual = start.foreground_threshold
    tried = [replace(start, foreground_threshold=each) for each in sorted({usual, *THRESHOLDS})]
    best = max(mean(each) for each in tried)
    good = [each for each in tried if mean(each) >= best - TOLERANCE]
    # A threshold far from the usual one that gains next to nothing suits these few windows by accident.
    settings = min(good, key=lambda each: abs(each.foreground_threshold - usual))
    if not heights:
        return settings
    by_height = [replace(settings, marker_height=height) for height in HEIGHTS]
    # Of equals the usual one comes first.
    by_height.sort(key=lambda each: abs(each.marker_height - start.marker_height))
    return max(by_height, key=mean)


def fit_probabilities(verdicts: Verdicts) -> Certainty:
    """The line that makes probabilities mean what they say; `UNCORRECTED` where too few nuclei are right or wrong."""
    right = int(verdicts.right.sum())
    if min(right, len(verdicts.right) - right) < FEWEST_VERDICTS:
        return UNCORRECTED
    slope, offset = fit_certainty(verdicts.probabilities, verdicts.right)
    # A slope below 0 would turn the order of nuclei round, and a steep one has parted a few of them by accident.
    if not 0 < slope <= STEEPEST or abs(offset) > STEEPEST:
        return UNCORRECTED
    return slope, offset


def corrected(verdicts: Verdicts, line: Certainty) -> Verdicts:
    """The verdicts with probabilities as a model with this line would give them."""
    return replace(verdicts, probabilities=certainty(verdicts.probabilities, line))
