"""Rare classes of nuclei: learned and named, without moving the border to the background."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.features.ensemble import EnsembleConfig
from wsinuc.workflows.train.class_balance import HEAVIEST, class_surplus, class_weights
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble
from wsinuc.workflows.train.pixel_table import IGNORED, PixelTable

SHAPE = EnsembleConfig(channels=((1, 2),), classes=3, maps=0, members=2, hidden=16, inner=8)
FIT = EnsembleFitConfig(epochs=12, batch=200, lr=1e-2)
COUNTS = (1500, 1200, 60)
"""Rows of background, of a frequent and of a rare class."""
PLACES = torch.tensor([[-3.0, 0.0], [1.0, -0.75], [1.0, 0.75]])
"""Their means. The first feature parts nuclei from background, the second the classes: with unit spread and equal
frequencies their border is at 0, and a class is right where Phi(0.75) = 0.773 of its rows lie."""


def table(counts: tuple[int, ...] = COUNTS, seed: int = 0) -> PixelTable:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    features = PLACES[classes] + torch.randn(len(classes), 2, generator=generator)
    return PixelTable(features.half(), classes, torch.zeros(len(classes), 0))


def recalls(balance: float, counts: tuple[int, ...] = COUNTS) -> list[float]:
    """Share of new rows of each class that get it."""
    ensemble = fit_ensemble(table(counts), SHAPE, replace(FIT, balance=balance))
    fresh = table((2000, 2000, 2000), seed=1)
    with torch.no_grad():
        probabilities = ensemble(fresh.features.float()[None]).softmax(-1).mean(0)
    named = probabilities.argmax(-1)
    nuclei = named.clone()
    nuclei[fresh.classes > 0] = probabilities[fresh.classes > 0, 1:].argmax(-1) + 1
    return [float((nuclei[fresh.classes == each] == each).float().mean()) for each in range(3)]


def test_a_rare_class_is_named_as_often_as_equal_frequencies_would_have_it() -> None:
    background, frequent, rare = recalls(balance=0.0)
    assert rare < 0.2
    assert frequent > 0.97
    assert background > 0.97
    background, frequent, rare = recalls(balance=1.0)
    assert rare == pytest.approx(0.773, abs=0.12)
    assert frequent == pytest.approx(0.773, abs=0.12)
    assert background > 0.97


def test_equal_classes_are_learned_as_without_weights() -> None:
    counts = (300, 200, 200)
    quick = replace(FIT, epochs=1)
    states = [fit_ensemble(table(counts), SHAPE, replace(quick, balance=each)).state_dict() for each in (0.0, 1.0)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_weights() -> None:
    wanted = torch.tensor([0] * 7 + [1] * 12 + [3] * 3 + [IGNORED] * 2)
    # Class 2 does not occur; 12 rows of weight 5/8 and 3 of weight 5/2 have the mean 1.
    torch.testing.assert_close(class_weights(wanted, 4, 1.0), torch.tensor([1.0, 0.625, 0.625, 2.5]))
    half = class_weights(wanted, 4, 0.5)
    assert half is not None
    assert float(half[3] / half[1]) == pytest.approx(2.0)
    assert class_weights(wanted, 4, 0.0) is None
    assert class_weights(torch.tensor([0, 1, 1]), 2, 1.0) is None
    alone = class_weights(torch.tensor([1] * 1000 + [2]), 3, 1.0)
    assert alone is not None
    assert float(alone[2] / alone[1]) == pytest.approx(HEAVIEST)
    with pytest.raises(ConfigError, match="balanced by 0"):
        EnsembleFitConfig(balance=1.5)


def test_only_what_tells_classes_apart_is_weighted() -> None:
    """Cross-entropy and surplus are that of nucleus against background, plus weight times that among nuclei."""
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.tensor([0, 1, 2, IGNORED, 2])
    weights = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64)
    weighted = F.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED)
    weighted = weighted + class_surplus(logits, wanted, weights)
    background = logits.log_softmax(-1)[:, 0]
    nucleus = (1 - background.exp()).log()
    among = logits[:, 1:].log_softmax(-1)
    expected = torch.stack(
        [
            -background[0],
            -nucleus[1] - 0.5 * among[1, 0],
            -nucleus[2] - 3 * among[2, 1],
            torch.zeros((), dtype=torch.float64),
            -nucleus[4] - 3 * among[4, 1],
        ]
    )
    torch.testing.assert_close(weighted, expected)
