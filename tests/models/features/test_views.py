"""Views of a tile: what is turned and moved comes back to its place, and verdicts are merged as one ensemble's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from wsinuc.errors import ConfigError
from wsinuc.models.features.ensemble import Votes
from wsinuc.models.features.views import MOST, merged, views
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.ddpm import DdpmSegmenter


def votes_of(members: Tensor) -> Votes:
    """Verdict of members ``(k, n, classes, h, w)``."""
    mean = members.mean(0)
    entropy = -(members * members.log()).sum(2).mean(0)
    ballots = torch.nn.functional.one_hot(members.argmax(2), members.shape[2]).movedim(-1, 2).float().mean(0)
    return Votes(mean, ballots, entropy, members.mean(0)[:, :1])


@pytest.mark.parametrize("count", range(1, MOST + 1))
@pytest.mark.parametrize("turned", [True, False])
def test_every_view_comes_back_to_its_place(count: int, turned: bool) -> None:
    x = torch.arange(2 * 64 * 64, dtype=torch.float32).reshape(2, 1, 64, 64)
    margin, extra = 24, 16
    for view in views(count, extra, turned=turned):
        seen = view.of(x)[..., margin - extra : extra - margin, margin - extra : extra - margin]
        torch.testing.assert_close(view.back(seen, extra), x[..., margin:-margin, margin:-margin])


def test_views_differ_in_where_pooling_begins() -> None:
    seen = views(4, 16, turned=True)
    assert seen[0] == replace(seen[0], quarters=0, moved=0), "the first is the tile as it is"
    assert len({view.moved % 4 for view in seen}) == 4, "also at the first two halvings"
    assert all(views(2, stride, turned=True)[1].moved % 2 for stride in (2, 4, 8, 16, 32, 64))
    assert {view.quarters for view in views(4, 16, turned=False)} == {0}, "directions stay"


def test_members_in_several_views_are_one_ensemble() -> None:
    torch.manual_seed(0)
    members = torch.rand(6, 2, 3, 4, 4).softmax(2)
    found, expected = merged([votes_of(members[:3]), votes_of(members[3:])]), votes_of(members)
    for name in ("probabilities", "ballots", "entropy", "disagreement", "maps"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), msg=name)
    sure = torch.tensor([1 - 1e-7, 1e-7])[None, None, :, None, None]
    opposed = merged([votes_of(sure), votes_of(sure.flip(2))])
    assert float(opposed.disagreement) == pytest.approx(1, abs=1e-4), "views that contradict each other disagree"
    assert math.isclose(float(opposed.probabilities[0, 0]), 0.5, abs_tol=1e-6)


def test_scores_are_the_mean_over_views() -> None:
    segmenter = load_segmenter("diffusion", device="cpu").with_core(64)
    assert isinstance(segmenter, DdpmSegmenter)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (1, segmenter.tile, segmenter.tile, 3), np.uint8)
    scores = {}
    for count in (1, 2):
        segmenter.config = replace(segmenter.config, views=count)
        scores[count] = segmenter.predict(pixels).astype(float)
    assert scores[2].shape == scores[1].shape
    second = views(2, segmenter.config.unet.stride, turned=True)[1]
    moved = np.roll(pixels, (second.moved, second.moved), (1, 2))
    segmenter.config = replace(segmenter.config, views=1)
    segmenter = segmenter.with_core(64)
    turned = np.ascontiguousarray(np.rot90(moved, second.quarters, (1, 2)))
    back = np.rot90(segmenter.predict(turned), -second.quarters, (2, 3)).astype(float)
    inner = slice(second.moved, 64)
    there = slice(0, 64 - second.moved)
    expected = (scores[1][:, 0, there, there] + back[:, 0, inner, inner]) / 2
    assert np.abs(scores[2][:, 0, there, there] - expected).max() <= 1.0, "up to rounding"


def test_no_more_views_than_there_are() -> None:
    segmenter = load_segmenter("diffusion", device="cpu")
    for count in (0, MOST + 1):
        with pytest.raises(ConfigError, match="1 to 4 ways"):
            replace(segmenter.config, views=count)
