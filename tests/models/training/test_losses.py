"""Losses against closed forms and hand-made cases, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.models.training import losses
from wsinuc.separation.targets import hv_maps

ALL = torch.ones(1, 9, 9, dtype=torch.bool)


def logits(seed: int = 0, classes: int = 3) -> torch.Tensor:
    return torch.randn(2, classes, 6, 5, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def target(classes: int = 3) -> torch.Tensor:
    return torch.randint(classes, (2, 6, 5), generator=torch.Generator().manual_seed(1))


def test_focal_loss_of_known_probabilities() -> None:
    p = torch.tensor([0.9, 0.2], dtype=torch.double)
    raw = torch.stack([torch.log(1 - p), torch.log(p)])[None, :, None]
    expected = (0.01 * -math.log(0.9) + 0.64 * -math.log(0.2)) / 2
    assert float(losses.focal_loss(raw, torch.ones(1, 1, 2, dtype=torch.long))) == pytest.approx(expected, rel=1e-12)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    expected = F.cross_entropy(logits(), target())
    torch.testing.assert_close(losses.focal_loss(logits(), target(), gamma=0), expected)
    torch.testing.assert_close(losses.cross_entropy(logits(), target()), expected)


def test_soft_targets_that_are_certain_are_labels() -> None:
    certain = F.one_hot(target(), 3).permute(0, 3, 1, 2).to(torch.double)
    torch.testing.assert_close(losses.soft_cross_entropy(logits(), certain), F.cross_entropy(logits(), target()))


def test_nothing_is_closer_to_a_teacher_than_its_own_probabilities() -> None:
    taught = logits(3).softmax(1)
    least = losses.soft_cross_entropy(taught.log(), taught)
    assert all(losses.soft_cross_entropy(taught.log() + 0.1 * logits(seed), taught) > least for seed in range(5))


def test_certain_mistakes_stay_finite() -> None:
    raw = torch.tensor([[200.0, -200.0]])[..., None, None].requires_grad_()
    for loss in (losses.focal_loss, losses.structural_similarity_loss, losses.cross_entropy):
        value = loss(raw, torch.ones(1, 1, 1, dtype=torch.long))
        (slope,) = torch.autograd.grad(value, raw)
        assert torch.isfinite(value)
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("form", losses.SIMILARITY_FORMS)
def test_similarity_loss_as_written_in_the_paper(form: str) -> None:
    """The equation once more, pixel by pixel, in NumPy."""
    raw, wanted = logits(), target()
    p, y = raw.softmax(1).numpy(), F.one_hot(wanted, 3).permute(0, 3, 1, 2).numpy()
    entropy = F.cross_entropy(raw, wanted, reduction="none").numpy()
    total = count = 0.0
    for n in range(2):
        for c in range(3):
            a, b = y[n, c], p[n, c]
            error = np.abs((a - a.mean() + 0.01) / (a.std() + 0.01) - (b - b.mean() + 0.01) / (b.std() + 0.01))
            chosen = error > 0.1 * error.max()
            total += (error * chosen * (entropy[n] if form == "pixel" else entropy.mean())).sum()
            count += chosen.sum()
    found = float(losses.structural_similarity_loss(raw, wanted, form=form))
    assert found == pytest.approx(total / count, rel=1e-9)


def test_similarity_loss_of_a_fresh_network_has_gradients() -> None:
    raw = torch.zeros(2, 3, 6, 5, dtype=torch.double, requires_grad=True)
    losses.structural_similarity_loss(raw, target()).backward()
    assert torch.isfinite(raw.grad).all()
    assert raw.grad.abs().sum() > 0
    with pytest.raises(ConfigError, match="pixel, scalar, got 'image'"):
        losses.structural_similarity_loss(raw, target(), form="image")


def test_soft_dice_of_halves() -> None:
    wanted = torch.tensor([[[0, 1, 1, 1]]])
    p = torch.full((1, 2, 1, 4), 0.5, dtype=torch.double)
    # Background: both 0.5, sums 2 + 1. Nucleus: both 1.5, sums 2 + 3.
    expected = 1 - (1.001 / 3.001 + 3.001 / 5.001) / 2
    assert float(losses.soft_dice_loss(p, wanted)) == pytest.approx(expected, rel=1e-12)
    perfect = F.one_hot(wanted, 2).permute(0, 3, 1, 2).double()
    assert float(losses.soft_dice_loss(perfect, wanted)) == 0


@pytest.mark.parametrize(
    "loss",
    [
        losses.focal_loss,
        losses.cross_entropy,
        losses.structural_similarity_loss,
        lambda raw, y: losses.soft_dice_loss(raw.softmax(1), y),
    ],
)
def test_pixels_of_unknown_class_teach_nothing(loss) -> None:
    wanted = target()
    wanted[:, 2:4] = losses.IGNORE
    raw = logits().requires_grad_()
    value = loss(raw, wanted)
    (slope,) = torch.autograd.grad(value, raw)
    assert slope[:, :, 2:4].abs().max() == 0
    assert slope[:, :, :2].abs().max() > 0
    other = raw.detach().clone()
    other[:, :, 2:4] = 7.0
    other[:, 0, 2:4] = -7.0
    torch.testing.assert_close(loss(other, wanted), value)
    nothing = loss(raw, torch.full_like(wanted, losses.IGNORE))
    assert torch.isfinite(nothing)


def test_the_gradient_kernels_lie_along_their_own_axes() -> None:
    """Published code has them exchanged: its horizontal kernel gives 0 for a ramp along x and 12 for one along y."""
    along_x = torch.arange(9.0, dtype=torch.double).expand(1, 1, 9, 9)
    kernels = losses.gradient_kernels(torch.double)
    for ramp, (h, v) in ((along_x, (12.0, 0.0)), (along_x.mT, (0.0, 12.0))):
        response = F.conv2d(ramp.expand(1, 2, 9, 9), kernels, groups=2)
        torch.testing.assert_close(response[0, 0], torch.full((5, 5), h, dtype=torch.double))
        torch.testing.assert_close(response[0, 1], torch.full((5, 5), v, dtype=torch.double))


def test_gradient_loss_of_ramps() -> None:
    flat = torch.zeros(1, 2, 9, 9, dtype=torch.double)
    middle = torch.zeros_like(ALL)
    middle[:, 3:6, 3:6] = True
    ramp = torch.arange(9.0, dtype=torch.double).expand(9, 9)
    h_along_x, h_along_y = flat.clone(), flat.clone()
    h_along_x[0, 0], h_along_y[0, 0] = ramp, ramp.T
    assert float(losses.gradient_loss(h_along_x, flat, middle)) == pytest.approx(144 / 2)  # H wrong by 12, V right
    assert float(losses.gradient_loss(h_along_y, flat, middle)) == pytest.approx(0, abs=1e-20)
    assert float(losses.gradient_loss(h_along_x, flat, ~ALL)) == 0


def test_gradient_loss_punishes_exchanged_maps_of_a_nucleus() -> None:
    labels = np.zeros((15, 21), np.int32)
    labels[3:12, 2:19] = 1
    truth = torch.from_numpy(hv_maps(labels))[None].double()
    nuclei = torch.from_numpy(labels > 0)[None]
    assert float(losses.gradient_loss(truth, truth, nuclei)) == 0
    assert float(losses.gradient_loss(truth.flip(1), truth, nuclei)) > 1


def test_h_and_v_count_inside_nuclei_only_and_distance_everywhere() -> None:
    nuclei = ALL.clone()
    nuclei[:, :, 5:] = False
    wrong = torch.ones(1, 2, 9, 9, dtype=torch.double) * ~nuclei
    assert float(losses.map_loss(wrong, torch.zeros_like(wrong), nuclei)) == 0
    assert float(losses.map_loss(wrong[:, :1], torch.zeros_like(wrong[:, :1]), nuclei)) == pytest.approx(4 / 9)
