"""The same tile seen in several ways: turned, and moved against the network's pooling.

A network that halves its resolution groups the pixels by where the tile begins, and one that was
trained on a few images is not quite the same for a turned image either. The mean over views depends
less on both, and where they differ, doubt is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from wsinuc.models.features.ensemble import Votes

MOST = 4
"""Views that there are; see `views`."""


@dataclass(frozen=True, slots=True)
class View:
    """One way to see a square tile."""

    quarters: int
    """Quarter turns, 0 to 3."""
    moved: int
    """Pixels down and right; what leaves the tile comes in again on the other side, where scores are dropped anyway."""

    def of(self, x: Tensor) -> Tensor:
        """``(n, c, h, h)`` seen so."""
        return torch.rot90(torch.roll(x, (self.moved, self.moved), (-2, -1)), self.quarters, (-2, -1))

    def back(self, scores: Tensor, extra: int) -> Tensor:
        """Scores ``(..., h, h)`` of the view as those of the tile, ``extra`` pixels on every side left out."""
        turned = torch.rot90(scores, -self.quarters, (-2, -1))
        start = extra + self.moved
        side = turned.shape[-1] - 2 * extra
        return turned[..., start : start + side, start : start + side]


def views(count: int, stride: int, *, turned: bool) -> tuple[View, ...]:
    """The first ``count`` (up to `MOST`) views for a network that pools ``stride`` pixels: the tile
    as it is, then others.

    They are moved by less than ``stride``, the second by about half of it and an odd number: then
    no halving of the resolution joins the same pixels in both.

    Scores that say a direction (H and V) must not be ``turned``.

    Examples
    --------
    >>> views(2, stride=8, turned=True)
    (View(quarters=0, moved=0), View(quarters=2, moved=5))
    """
    turns = (0, 2, 1, 3) if turned else (0, 0, 0, 0)
    moves = (0, *(move % stride for move in (stride // 2 | 1, stride // 4 + 2, 3 * stride // 4 + 3)))
    return tuple(View(turn, moved) for turn, moved in list(zip(turns, moves, strict=True))[:count])


def merged(verdicts: Sequence[Votes]) -> Votes:
    """One verdict of all members in all views; their disagreement is that between all of these."""
    return Votes(*(torch.stack([getattr(votes, part.name) for votes in verdicts]).mean(0) for part in fields(Votes)))
