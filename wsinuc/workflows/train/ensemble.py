"""Fitting the pixel classifiers of an ensemble side by side to one table of rows (method A, section 2.4).

All members take their steps together as grouped matrix products, but none knows of the others: each has its own initial
weights, its own order of the rows, its own loss, its own statistics and, where patience is asked for, its own end. A
loop over single members gives the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wsinuc.errors import ConfigError, DataError
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.workflows.train.class_balance import class_surplus, class_weights
from wsinuc.workflows.train.pixel_table import IGNORED, PixelTable

_CHUNK = 65_536
"""Rows that are widened to fp32 at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleFitConfig:
    """How the members are fitted. `paper` has the published values."""

    epochs: int = 12
    batch: int = 1024
    lr: float = 1e-3
    cosine: bool = True
    """Let the rate fall to zero along a cosine."""
    weight_decay: float = 1e-2
    patience: int | None = None
    """Iterations without a smaller minibatch loss after which a member stops; None runs all epochs."""
    patience_after: int = 3
    """The last epoch, counted from 0, in which patience is not yet tried."""
    init_std: float | None = None
    """Standard deviation of all initial weights; None is He's rule."""
    standardise: bool = True
    """Give each feature mean 0 and spread 1 over the table first."""
    map_weight: float = 2.0
    """Weight of the maps' squared error beside the classes' cross-entropy."""
    balance: float = 0.5
    """How far classes of nuclei are told apart as if all were equally frequent: 1 fully, 0 by the pixels that each has,
    as published; see `class_weights`. One half weighs them by the square root, which costs the frequent ones little."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.lr <= 0:
            raise ConfigError(f"a fit needs epochs, a batch and a rate, got {self.epochs}, {self.batch} and {self.lr}")
        if not 0 <= self.balance <= 1:
            raise ConfigError(f"classes are balanced by 0 (not at all) to 1 (fully), got {self.balance:g}")

    @classmethod
    def paper(cls) -> EnsembleFitConfig:
        """As published: Adam at 1e-3 on 64 pixels, up to 100 epochs, patience 50 after epoch 3, weights N(0, 0.02)."""
        return cls(
            epochs=100,
            batch=64,
            cosine=False,
            weight_decay=0.0,
            patience=50,
            init_std=0.02,
            standardise=False,
            balance=0.0,
        )


def fit_ensemble(
    table: PixelTable,
    shape: EnsembleConfig,
    config: EnsembleFitConfig,
    *,
    seed: int = 0,
    first_member: int = 0,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    device: torch.device | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> PixelClassifierEnsemble:
    """Train all members at once.

    Parameters
    ----------
    first_member
        Number of the first member: fitting members 0 and 1 together or one after the other is the same.
    rows
        Rows to learn from, int64 indices into the table's; all by default.
    columns
        Features to use, int64 indices into the table's; all by default.
    on_epoch
        Called with the epoch and the mean loss over members and batches.

    Raises
    ------
    DataError
        The table has no row with a known class.
    """
    if rows is None:
        rows = torch.arange(len(table))
    if not bool((table.classes[rows] != IGNORED).any()):
        raise DataError("no pixel has a known class: check the data set's classes")
    where = device or torch.device("cpu")
    ensemble = PixelClassifierEnsemble(shape)
    _initialise(ensemble, config, seed, first_member)
    if config.standardise:
        mean, std = _moments(table.features, rows, columns)
        ensemble.mean.copy_(mean)
        ensemble.std.copy_(std.clamp_min(1e-3))
    ensemble.to(where).train()
    orders = [np.random.default_rng((seed, first_member + member)) for member in range(shape.members)]
    size = min(config.batch, len(rows))
    batches = len(rows) // size
    optimiser = torch.optim.AdamW(ensemble.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs * batches)
    patience = _Patience(ensemble, config.patience)
    weights = class_weights(table.classes[rows], shape.classes, config.balance)
    for epoch in range(config.epochs):
        shuffled = rows[_shuffled(orders, len(rows))]
        total = 0.0
        for batch in range(batches):
            chosen = shuffled[:, batch * size : (batch + 1) * size]
            loss = member_losses(ensemble, table, chosen, config, columns=columns, weights=weights)
            optimiser.zero_grad(set_to_none=True)
            # A sum, not a mean: each member's gradient is what it would be alone.
            torch.autograd.backward(loss.sum())
            optimiser.step()
            if config.cosine:
                schedule.step()
            total += float(loss.detach().mean())
            if config.patience is not None and epoch > config.patience_after and patience.exhausted(loss.detach()):
                break
        on_epoch(epoch, total / (batch + 1))
        if patience.all_stopped:
            break
    patience.restore()
    return ensemble.eval()


@torch.no_grad()
def give_back_background(ensemble: PixelClassifierEnsemble, share: float) -> None:
    """Give the logit of background what a table took that holds only this share of its pixels: log of the share."""
    ensemble.third_bias[..., 0] -= math.log(share)


def member_losses(
    ensemble: PixelClassifierEnsemble,
    table: PixelTable,
    rows: Tensor,
    config: EnsembleFitConfig,
    *,
    columns: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the classes plus the maps' squared error, ``(members,)``, for rows ``(members, batch)``.

    ``weights`` ``(classes,)`` are those of `class_weights`; None weighs all classes of nuclei the same.
    H and V mean nothing outside nuclei and count inside only; centre distance is 0 outside and counts everywhere.
    """
    device = ensemble.first.device
    classes = ensemble.config.classes
    if columns is None:
        features = table.features[rows]
    else:
        features = table.features[rows[..., None], columns]
    raw: Tensor = ensemble(features.to(device).float())
    wanted = table.classes[rows].to(device)
    maps = table.maps[rows].to(device)
    each = F.cross_entropy(raw[..., :classes].movedim(-1, 1), wanted, reduction="none", ignore_index=IGNORED)
    if weights is not None:
        each = each + class_surplus(raw[..., :classes], wanted, weights.to(device))
    # The mean over the pixels that count; a batch of ignored ones has loss 0 instead of NaN.
    loss = each.sum(1) / (wanted != IGNORED).sum(1).clamp_min(1)
    if not ensemble.config.maps:
        return loss
    error = (raw[..., classes:] - maps).square().mean(-1)
    if ensemble.config.maps == 2:
        inside = (wanted != 0).float()
        # Divided by the share inside, so that the weight of the maps does not depend on how many nuclei a batch has.
        error = error * inside / inside.mean(1, keepdim=True).clamp_min(1e-6)
    return loss + config.map_weight * error.mean(1)


class _Patience:
    """Stops each member by itself: its weights are kept as they are when its loss has not fallen for long enough."""

    def __init__(self, ensemble: PixelClassifierEnsemble, patience: int | None) -> None:
        members = ensemble.config.members
        self._ensemble = ensemble
        self._patience = patience
        self._best = torch.full((members,), torch.inf)
        self._waited = torch.zeros(members, dtype=torch.int64)
        self._stopped: dict[int, dict[str, Tensor]] = {}

    @property
    def all_stopped(self) -> bool:
        return len(self._stopped) == len(self._best)

    def exhausted(self, losses: Tensor) -> bool:
        """Take the losses ``(members,)`` of one iteration; whether no member goes on."""
        losses = losses.cpu()
        better = losses < self._best
        self._best = torch.where(better, losses, self._best)
        self._waited = torch.where(better, 0, self._waited + 1)
        for member in torch.nonzero(self._waited >= (self._patience or 0)).flatten().tolist():
            if member not in self._stopped:
                self._stopped[member] = {k: v[member].detach().clone() for k, v in self._per_member().items()}
        return self.all_stopped

    def restore(self) -> None:
        """Give every member that stopped the weights it had then."""
        state = self._per_member()
        with torch.no_grad():
            for member, weights in self._stopped.items():
                for name, value in weights.items():
                    state[name][member] = value

    def _per_member(self) -> dict[str, Tensor]:
        """Weights and running statistics; the standardisation, shared by all, is no member's own."""
        return {k: v for k, v in self._ensemble.state_dict().items() if k not in ("mean", "std")}


def _initialise(ensemble: PixelClassifierEnsemble, config: EnsembleFitConfig, seed: int, first_member: int) -> None:
    """Weights of each member from its own generator, biases 0."""
    with torch.no_grad():
        for member in range(ensemble.config.members):
            # By the member's number in the whole ensemble: members fitted apart are those fitted together.
            key = np.random.SeedSequence((seed, first_member + member)).generate_state(1)[0]
            generator = torch.Generator().manual_seed(int(key))
            for weight, gain in ((ensemble.first, 2), (ensemble.second, 2), (ensemble.third, 1)):
                if config.init_std is not None:
                    std = config.init_std
                else:
                    std = (gain / weight.shape[1]) ** 0.5
                weight[member] = std * torch.randn(weight.shape[1:], generator=generator)


def _moments(features: Tensor, rows: Tensor, columns: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature over the rows, chunk by chunk."""
    # In fp64: the variance is a difference of large sums.
    total = torch.zeros((), dtype=torch.float64)
    square = torch.zeros((), dtype=torch.float64)
    for part in torch.split(rows, _CHUNK):
        chunk = features[part]
        wide = (chunk if columns is None else chunk[:, columns]).double()
        total = total + wide.sum(0)
        square = square + wide.square().sum(0)
    mean = total / len(rows)
    return mean.float(), (square / len(rows) - mean.square()).clamp_min(0).sqrt().float()


def _shuffled(orders: list[np.random.Generator], rows: int) -> Tensor:
    """One order of the rows for each member, ``(members, rows)``."""
    shuffled: list[NDArray[np.int64]] = [order.permutation(rows) for order in orders]
    return torch.from_numpy(np.stack(shuffled))
