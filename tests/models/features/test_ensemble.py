"""The ensemble: batch norm that folds away, ballots and ties, disagreement, and members that know
nothing of each other."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsinuc.errors import ConfigError, DataError
from wsinuc.models.features.ensemble import EnsembleConfig, MemberNorm, PixelClassifierEnsemble, Votes
from wsinuc.segmenters.ddpm import majority_probabilities
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble, member_losses
from wsinuc.workflows.train.pixel_table import IGNORED, PixelTable

SHAPE = EnsembleConfig(channels=((1, 6),), classes=3, maps=0, members=3, hidden=8, inner=5, norm="batch")
PAPER = replace(EnsembleFitConfig.paper(), epochs=7, batch=16, patience=3)


def rows(count: int = 96, maps: int = 0, seed: int = 0) -> PixelTable:
    """Three overlapping blobs, so that a loss neither vanishes nor stays."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (count,), generator=generator)
    features = torch.randn(count, 6, generator=generator) + F.one_hot(classes, 6)
    return PixelTable(features.half(), classes, torch.rand(count, maps, generator=generator))


def as_modules(ensemble: PixelClassifierEnsemble, member: int) -> nn.Sequential:
    """One member in PyTorch's own words."""
    parts: list[nn.Module] = []
    norms = list(ensemble.norms)
    for name in ("first", "second", "third"):
        weight, bias = getattr(ensemble, name)[member], getattr(ensemble, f"{name}_bias")[member, 0]
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.detach().clone(), bias.detach().clone()
        parts.append(linear)
        if name != "third":
            parts.append(nn.ReLU())
            if norms:
                parts.append(nn.BatchNorm1d(weight.shape[1]))
    return nn.Sequential(*parts)


def randomised(config: EnsembleConfig = SHAPE) -> PixelClassifierEnsemble:
    torch.manual_seed(0)
    ensemble = PixelClassifierEnsemble(config)
    ensemble.mean.normal_()
    ensemble.std.uniform_(0.5, 2)
    for norm in ensemble.norms:
        assert isinstance(norm, MemberNorm)
        for value in (norm.weight.data, norm.bias.data, norm.running_mean):
            value.normal_()
        norm.running_var.uniform_(0.5, 2)
    return ensemble.eval()


def test_one_member_is_the_published_network() -> None:
    """Linear, ReLU, BatchNorm in this order: outputs, gradients and running statistics as PyTorch's
    modules have them."""
    torch.manual_seed(1)
    ensemble = PixelClassifierEnsemble(SHAPE).train()
    x = torch.randn(3, 20, 6)
    out = ensemble(x)
    out.square().sum().backward()
    for member in range(3):
        reference = as_modules(ensemble, member).train()
        expected = reference(x[member])
        expected.square().sum().backward()
        torch.testing.assert_close(out[member], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ensemble.first.grad[member].T, reference[0].weight.grad, rtol=1e-3, atol=1e-4)
        norm = ensemble.norms[0]
        torch.testing.assert_close(norm.running_mean[member, 0], reference[2].running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var[member, 0], reference[2].running_var, rtol=1e-5, atol=1e-6)


def test_batch_norm_folds_into_the_next_layer() -> None:
    """A 4 x 5 image through the convolutions against its pixels through the layers as they were trained."""
    ensemble, x = randomised(), torch.randn(1, 6, 4, 5)
    rows = x[0].flatten(1).T[None]
    expected = ensemble(rows)
    for member, raw in enumerate(ensemble.raw({1: x})):
        torch.testing.assert_close(raw[0].flatten(1).T, expected[member], rtol=1e-4, atol=1e-4)


def test_a_loop_of_single_members_gives_the_same() -> None:
    together = fit_ensemble(rows(), SHAPE, PAPER, seed=4)
    assert not torch.allclose(together.first[0], together.first[1], atol=1e-3)
    for member in range(SHAPE.members):
        alone = fit_ensemble(rows(), replace(SHAPE, members=1), PAPER, seed=4, first_member=member)
        for name, value in alone.state_dict().items():
            both = together.state_dict()[name]
            both = both if name in ("mean", "std") else both[member : member + 1]
            torch.testing.assert_close(both, value, rtol=1e-6, atol=1e-6)


def test_maps_and_rows_of_pixels_give_the_members_the_same_gradients() -> None:
    ensemble = PixelClassifierEnsemble(replace(SHAPE, norm="none", maps=1))
    stack = torch.randn(2, 6, 3, 5)
    wanted = torch.randn(3, 2, 4, 3, 5)
    gradients = []
    for by_maps in (True, False):
        inputs = stack.clone().requires_grad_()
        if by_maps:
            raw = torch.stack(list(ensemble.raw({1: inputs})))
        else:
            pixels = ensemble(inputs.permute(0, 2, 3, 1).reshape(1, -1, 6))
            raw = pixels.reshape(3, 2, 3, 5, 4).permute(0, 1, 4, 2, 3)
        parameters = [inputs, *ensemble.parameters()]
        gradients.append(torch.autograd.grad((raw * wanted).sum(), parameters))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_one_member_is_fitted_as_a_plain_loop_with_adam_and_patience_would() -> None:
    """The published loop written out, with the initial weights and the orders of the member."""
    table, start = rows(), fit_ensemble(rows(), SHAPE, replace(PAPER, lr=1e-30, epochs=1), seed=2)
    import numpy as np

    for member in range(SHAPE.members):
        network = as_modules(start, member).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        order, best, waited, stopped = np.random.default_rng((2, member)), math.inf, 0, False
        for epoch in range(PAPER.epochs):
            for batch in torch.from_numpy(order.permutation(96)).split(16):
                loss = F.cross_entropy(network(table.features[batch].float()), table.classes[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                if epoch > 3:
                    best, waited = (float(loss.detach()), 0) if loss < best else (best, waited + 1)
                    stopped = waited >= 3
                if stopped:
                    break
            if stopped:
                break
        fitted = fit_ensemble(table, SHAPE, PAPER, seed=2)
        torch.testing.assert_close(fitted.first[member].T, network[0].weight, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(fitted.third_bias[member, 0], network[6].bias, rtol=1e-3, atol=1e-5)


def test_patience_ends_each_member_by_itself() -> None:
    table, ends = rows(), []
    for member in range(SHAPE.members):
        steps = []

        def count(module: nn.Module, inputs: object, output: object, steps: list[int] = steps) -> None:
            steps.append(1)

        handle = nn.modules.module.register_module_forward_hook(
            lambda module, inputs, output: (
                count(module, inputs, output) if isinstance(module, PixelClassifierEnsemble) else None
            )
        )
        fit_ensemble(table, replace(SHAPE, members=1), replace(PAPER, epochs=100), seed=4, first_member=member)
        handle.remove()
        ends.append(len(steps))
    assert min(ends) >= 4 * 6 + 3, "patience is not tried before the fifth epoch"
    assert max(ends) < 100 * 6
    assert len(set(ends)) > 1, "members stop at different times"


def test_ignored_rows_teach_maps_but_no_class() -> None:
    shape = replace(SHAPE, maps=1, norm="none")
    table, config = rows(maps=1), EnsembleFitConfig(map_weight=0.0)
    ensemble, picked = PixelClassifierEnsemble(shape), torch.arange(8).expand(3, 8)
    known = member_losses(ensemble, table, picked[:, 4:], config)
    table.classes[:4] = IGNORED
    torch.testing.assert_close(member_losses(ensemble, table, picked, config), known)
    with_maps = member_losses(ensemble, table, picked, replace(config, map_weight=1.0))
    table.maps[:4] += 1
    assert bool((member_losses(ensemble, table, picked, replace(config, map_weight=1.0)) != with_maps).all())
    table.classes[:] = IGNORED
    with pytest.raises(DataError, match="no pixel has a known class"):
        fit_ensemble(table, shape, config)


def test_columns_are_a_table_of_their_own() -> None:
    shape, columns = replace(SHAPE, channels=((1, 2),)), torch.tensor([4, 1])
    table = rows()
    narrow = PixelTable(table.features[:, columns], table.classes, table.maps)
    quick = EnsembleFitConfig(epochs=2, batch=32)
    first, second = fit_ensemble(table, shape, quick, columns=columns), fit_ensemble(narrow, shape, quick)
    assert all(torch.equal(a, second.state_dict()[name]) for name, a in first.state_dict().items())


def votes(ballots: list[float], disagreement: torch.Tensor | None = None) -> Votes:
    share = torch.tensor(ballots)[None, :, None, None]
    wanted = torch.zeros(1, 1, 1) if disagreement is None else disagreement
    whole = -(share * share.clamp_min(1e-12).log()).sum(1)
    return Votes(share, share, whole - wanted * math.log(2), torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("ballots", "winner"),
    [((0.5, 0.5, 0.0), 0), ((0.4, 0.3, 0.3), 0), ((0.2, 0.4, 0.4), 1), ((0.3, 0.3, 0.4), 2), ((0.0, 0.0, 1.0), 2)],
)
def test_the_majority_decides_and_ties_go_to_the_smallest_class(ballots: tuple[float, ...], winner: int) -> None:
    asked = votes(list(ballots))
    assert int(asked.majority) == winner
    scores = majority_probabilities(asked)[0, :, 0, 0]
    assert float(scores.sum()) == pytest.approx(1, abs=1e-5)
    assert bool(scores[0] > 0.5) == (winner == 0), "foreground follows the majority"
    if winner:
        assert int(scores[1:].argmax()) + 1 == winner


def test_ballots_are_counted_per_member() -> None:
    ensemble, x = randomised(replace(SHAPE, members=4)), torch.randn(2, 6, 3, 3)
    named = torch.stack([raw.argmax(1) for raw in ensemble.raw({1: x})])
    found = ensemble.vote({1: x})
    torch.testing.assert_close(
        found.majority, torch.mode(named, dim=0).values
    )  # mode, too, gives the smallest of a tie
    torch.testing.assert_close(found.ballots.sum(1), torch.ones(2, 3, 3))


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_of_classes_that_tie_the_smallest_gets_the_ballot(classes: int) -> None:
    # All members say the same of every pixel: quarters of a logit, so that many tie.
    config = EnsembleConfig(channels=((1, classes),), classes=classes, maps=0, members=1, hidden=classes, inner=classes)
    ensemble = PixelClassifierEnsemble(config).eval()
    for weight in (ensemble.first, ensemble.second, ensemble.third):
        weight.data = torch.eye(classes)[None]
    logits = torch.randint(0, 4, (2, classes, 32, 32)) / 4
    expected = F.one_hot(logits.argmax(1), classes).movedim(-1, 1)
    torch.testing.assert_close(ensemble.vote({1: logits}).ballots, expected.float())


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="norm must be one of none, batch"):
        replace(SHAPE, norm="layer")
    with pytest.raises(ConfigError, match="a fit needs epochs"):
        EnsembleFitConfig(epochs=0)
