"""How one member of a joint model sees a tile: in a size, turned, and moved against what the network pools.

A size other than 1 is a fraction whose grid repeats with the tiles of the joint model, so a place looks
the same through whichever tile it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from wsinuc.errors import ConfigError
from wsinuc.grid import ceil_div
from wsinuc.models.features.views import View
from wsinuc.segmenters.tiled import TiledSegmenter

LARGEST = 8
"""No size shows the tissue larger, or that much smaller."""
RIM = 32
"""Pixels around the inner ones that are scored besides where sizes differ, for the interpolation back."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """One way in which a member sees a tile; sides are in pixels of what it sees but for ``scored_side``."""

    size: Fraction
    """How large the tissue is shown: 5/4 shows five pixels for four."""
    view: View
    """How it is turned and moved."""
    scored_side: int
    """Side of what is scored, in pixels of the joint model; the rim included."""
    tile: int
    """Side of the whole tile as it is seen."""
    core: int
    """Side of what is scored, as it is seen."""
    member_core: int
    """Side that the member scores: at least ``core`` and what the view is moved by."""

    @classmethod
    def fit(cls, size: Fraction, view: View, tile: int, margin: int, model: TiledSegmenter) -> MemberView:
        """The view of tiles of the joint model through one member.

        Parameters
        ----------
        tile, margin
            Those of the joint model, in its pixels.
        model
            The member.

        Raises
        ------
        ConfigError
            The size is out of range, its grid does not fit the tiles, or the member's margin does not fit into them.
        """
        if not Fraction(1, LARGEST) <= size <= LARGEST:
            raise ConfigError(f"a size lies between 1/{LARGEST} and {LARGEST}, got {size}")
        inner = tile - 2 * margin
        scored_side = inner if size == 1 else inner + 2 * RIM
        sides = (size * tile, size * scored_side, size * inner)
        # The period of the tiles must be whole as well, or a place would look different through the next tile.
        if any(side.denominator != 1 for side in sides) or (sides[0] - sides[1]) % 2:
            raise ConfigError(f"a size of {size} does not fit tiles of {tile} px with a margin of {margin}")
        seen = int(sides[0])
        core = int(sides[1])
        member_core = ceil_div(core + view.moved, model.grain) * model.grain
        room = (seen - core) // 2 - max(view.moved, member_core - core - view.moved)
        if room < model.margin:
            raise ConfigError(
                f"at a size of {size} a member needs {model.margin} px around what it scores, tiles leave {room}"
            )
        return cls(size, view, scored_side, seen, core, member_core)

    def scores(self, pixels: NDArray[np.uint8], model: TiledSegmenter) -> NDArray[np.float32]:
        """What the member says of tiles ``(n, tile, tile, 3)`` of the joint model.

        Returns
        -------
        float32 ``(n, channels, side, side)`` in [0, 1], on the inner pixels.
        """
        turned = np.rot90(pixels, self.view.quarters, (1, 2))
        if self.size == 1:
            seen = turned
        else:
            seen = resized(turned, self.tile)
        first = (self.tile - self.core) // 2 - model.margin - self.view.moved
        side = self.member_core + 2 * model.margin
        part = np.ascontiguousarray(seen[:, first : first + side, first : first + side])
        whole = model.with_core(self.member_core).predict(part)
        moved = slice(self.view.moved, self.view.moved + self.core)
        scores = np.divide(whole[:, :, moved, moved], np.float32(255), dtype=np.float32)
        return np.rot90(self._inner(scores), -self.view.quarters, (2, 3))

    def _inner(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores as they were seen as those of the inner pixels of the joint model."""
        if self.size == 1:
            return scores
        shape = (self.scored_side, self.scored_side)
        # Antialiasing where the member saw more pixels than there are: plain bilinear would skip some of them.
        back = F.interpolate(torch.from_numpy(scores), size=shape, mode="bilinear", antialias=self.size > 1)
        inner: NDArray[np.float32] = back[:, :, RIM:-RIM, RIM:-RIM].numpy()
        return inner


def in_size(pixels: NDArray[np.uint8], size: Fraction) -> NDArray[np.uint8]:
    """Squares ``(n, h, h, 3)`` as seen in this size, their side rounded."""
    if size == 1:
        return pixels
    return resized(pixels, round(pixels.shape[1] * size))


def resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Tiles ``(n, h, h, 3)`` with another side, resampled as slides are: by triangles as wide as the coarser pixel.

    Examples
    --------
    >>> resized(np.array([0, 10, 20, 30], np.uint8).reshape(1, 2, 2, 1).repeat(3, -1), 1).ravel()
    array([15, 15, 15], dtype=uint8)
    """
    # Not as bytes, which PyTorch resamples ten times as fast: it rounds rows and columns one after the other, by an
    # amount that depends on where the tile begins. Half as many nuclei again changed then when a slide was moved.
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    tiles = F.interpolate(x, size=(side, side), mode="bilinear", antialias=side < pixels.shape[1])
    return tiles.round_().to(torch.uint8).permute(0, 2, 3, 1).numpy()
