"""The pre-trainings of claim A in their tiny form, and the two rivals' arithmetic."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "claims"))
import pretrain_a
import pretraining
import rivals

from wsinuc.datasets.sampling.patches import PatchSource
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.orientation import dihedral
from wsinuc.workflows.train.ddpm import load_extractor
from wsinuc.workflows.training import run as training_run
from wsinuc.workflows.training.run import Session

TINY = replace(
    pretrain_a.CONFIG,
    patch=64,
    batch=2,
    unet=UNetConfig(base=32, multipliers=(1, 1, 1, 1, 1, 1), attention_factors=(), middle_attention=False),
)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes longer than these trainings."""
    monkeypatch.setattr(training_run, "draw_training", lambda log, path, **more: None)


def picture(side: int = 96) -> np.ndarray:
    """Noise: every place is unlike every other."""
    return np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)


def test_a_rivals_network_without_its_head_is_read_by_the_extractor(tmp_path: Path) -> None:
    plans = pretrain_a.PRETRAININGS[3:4]
    assert pretraining.run(plans, (1,), lambda name: [picture()], tmp_path, TINY, Session())
    features = FeatureConfig(timesteps=(0,), blocks=(6, 8, 10, 12))
    checkpoint = load_checkpoint(tmp_path / "contrast-1.safetensors", "denoiser")
    maps = load_extractor(checkpoint, features, torch.device("cpu"))(torch.zeros(1, 3, 64, 64))
    assert sum(stack.shape[1] for stack in maps.values()) == 4 * 32
    assert all(float(stack.std()) > 0 for stack in maps.values())


def test_a_training_that_was_stopped_has_no_mark_and_goes_on(tmp_path: Path) -> None:
    plans = pretrain_a.PRETRAININGS[2:3]
    stopped = replace(Session(), should_stop=lambda: True)
    assert not pretraining.run(plans, (2,), lambda name: [picture()], tmp_path, TINY, stopped)
    assert not (tmp_path / "masked-2.safetensors").exists()
    assert pretraining.run(plans, (2,), lambda name: [picture()], tmp_path, TINY, Session())
    assert pretraining.steps_left(plans, (2, 5), tmp_path) == {"masked": 3}


def test_two_views_show_the_same_pixels_at_the_places_that_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "STAIN", 0.0)
    unet = rivals.UNet(TINY.unet)
    source = PatchSource(images=[picture()], size=TINY.patch + rivals.MOVE, seed=1, zoom=1.0, stain=0.0)
    pairs = rivals.ContrastLoss(rivals.ProjectedUNet(unet), TINY, source, Session()).cut(3)
    for i in range(TINY.batch):
        # A place is a square of FACTOR pixels, whose order turning changes.
        first, second = (coarse(view[i]) for view in (pairs.first, pairs.second))
        y, x = pairs.first_places[i].T
        v, u = pairs.second_places[i].T
        np.testing.assert_array_equal(first[y, x], second[v, u])


def coarse(view: np.ndarray) -> np.ndarray:
    """Sums of the pixels of each square."""
    cells = view.shape[0] // rivals.FACTOR
    return view.astype(int).reshape(cells, rivals.FACTOR, cells, rivals.FACTOR, 3).sum((1, 3))


def test_contrast_is_nothing_for_equal_views_and_large_for_exchanged_ones() -> None:
    vectors = torch.eye(4).reshape(2, 2, 4)
    places = torch.tensor([[[0, 0], [0, 40]], [[0, 0], [0, 40]]])
    assert float(rivals.contrast(vectors, vectors, places)) < 0.05
    assert float(rivals.contrast(vectors, vectors.flip(0), places)) > 4


def test_places_of_the_same_patch_nearby_are_not_held_against_it() -> None:
    # All vectors are alike: the loss is the logarithm of how many are compared.
    same = torch.ones(1, 3, 1)
    apart = torch.tensor([[[0, 0], [0, 40], [0, 80]]])
    close = torch.tensor([[[0, 0], [0, 1], [0, 80]]])
    assert float(rivals.contrast(same, same, apart)) == pytest.approx(np.log(3))
    assert float(rivals.contrast(same, same, close)) == pytest.approx((2 * np.log(2) + np.log(3)) / 3)


def test_squares_are_blanked_whole_and_in_the_share_that_is_wanted() -> None:
    masked = rivals.blanked_squares(torch.Size((8, 3, 128, 128)), torch.Generator().manual_seed(0))
    squares = masked.reshape(8, 8, 16, 8, 16).float().mean((2, 4))
    assert set(squares.unique().tolist()) == {0.0, 1.0}
    assert float(squares.mean()) == pytest.approx(rivals.MASKED_SHARE, abs=0.05)


@pytest.mark.parametrize("turn", range(8))
def test_places_follow_every_turn(turn: int) -> None:
    square = np.arange(25).reshape(5, 5)
    places = np.stack(np.unravel_index(np.arange(25), (5, 5)), axis=1)
    y, x = rivals.places_turned(places, 5, turn).T
    np.testing.assert_array_equal(dihedral(square, turn)[y, x], square.ravel())
