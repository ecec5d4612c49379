"""Which pixels are read and which are owned: boxes, blocks and tiles.

Nothing here touches pixels or files. All coordinates are integers in (y, x) order, half-open, in pixels of the *view*
(the slide at the resolution the model works at), measured from the view's top left corner.

A **block** is the unit of work, recovery, storage and memory. Its *core* is what it owns; cores
partition the view. Its *read* box is the core grown by the halo and clipped to the view. A **tile**
is one network input. Tiles are anchored to the view's origin, never to a block, so two blocks that
share a halo compute the same scores there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, overload

from wsinuc.errors import ConfigError

if TYPE_CHECKING:  # geometry is imported everywhere, and is not to cost NumPy
    import numpy as np
    from numpy.typing import NDArray


@overload
def ceil_div(a: int, b: int) -> int: ...
@overload
def ceil_div(a: NDArray[np.int64], b: int) -> NDArray[np.int64]: ...
def ceil_div(a: int | NDArray[np.int64], b: int) -> int | NDArray[np.int64]:
    """``a / b`` rounded up, for whole numbers and for arrays of them.

    Examples
    --------
    >>> ceil_div(7, 3), ceil_div(6, 3), ceil_div(0, 3)
    (3, 2, 0)
    """
    # Not math.ceil(a / b), which goes through a float and is wrong for large numbers.
    return -(-a // b)


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A non-empty, half-open rectangle: rows ``y0 <= y < y1``, columns ``x0 <= x < x1``, all whole numbers.

    Examples
    --------
    >>> import wsinuc
    >>> wsinuc.Box(0, 0, 4, 6).shape
    (4, 6)
    >>> Box(0, 0, 4, 6).grow(1).clip(Box(0, 0, 5, 5))
    Box(y0=0, x0=0, y1=5, x1=5)
    """

    y0: int
    x0: int
    y1: int
    x1: int

    def __post_init__(self) -> None:
        try:
            holds_pixels = self.y0 < self.y1 and self.x0 < self.x1
        except TypeError:
            raise ConfigError(f"a box is four whole numbers, got {self.y0, self.x0, self.y1, self.x1}") from None
        if not holds_pixels:
            raise ConfigError(f"a box must hold at least one pixel, got {self.y0, self.x0, self.y1, self.x1}")

    @classmethod
    def of_shape(cls, shape: tuple[int, int]) -> Box:
        """The box from the origin with the given (height, width)."""
        return cls(0, 0, shape[0], shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this box in an array whose origin is the view's."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, pixels: int) -> Box:
        """This box with ``pixels`` more on every side (it may then leave the view)."""
        return Box(self.y0 - pixels, self.x0 - pixels, self.y1 + pixels, self.x1 + pixels)

    def shift(self, dy: int, dx: int) -> Box:
        """This box moved by (dy, dx)."""
        return Box(self.y0 + dy, self.x0 + dx, self.y1 + dy, self.x1 + dx)

    def relative_to(self, other: Box) -> Box:
        """This box in coordinates whose origin is the corner of ``other``."""
        return self.shift(-other.y0, -other.x0)

    def overlaps(self, other: Box) -> bool:
        """Whether the two share at least one pixel."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1

    def clip(self, other: Box) -> Box:
        """What the two share; raises ConfigError when that is nothing."""
        return Box(max(self.y0, other.y0), max(self.x0, other.x0), min(self.y1, other.y1), min(self.x1, other.x1))

    def contains(self, y: int, x: int) -> bool:
        """Whether the pixel (y, x) lies inside."""
        return self.y0 <= y < self.y1 and self.x0 <= x < self.x1


def check_box(box: Box) -> None:
    """Raise ConfigError unless a value is a box of whole numbers.

    Examples
    --------
    >>> check_box((0, 0, 10, 2))
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: expected a wsinuc.Box(y0, x0, y1, x1) of whole numbers, got (0, 0, 10, 2)
    """
    if isinstance(box, Box) and all(isinstance(side, Integral) for side in (box.y0, box.x0, box.y1, box.x1)):
        return
    raise ConfigError(f"expected a wsinuc.Box(y0, x0, y1, x1) of whole numbers, got {box!r:.60}")


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of work: the ``core`` it owns and the ``read`` box it needs for that."""

    index: int
    """Number of the block in its grid, row by row from 0."""
    core: Box
    read: Box


MAX_BLOCKS = 4_000_000
"""More than the largest slides have in the smallest blocks; going through them takes minutes, and much memory."""


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """Blocks that partition a view, in row-major order.

    Parameters
    ----------
    shape
        (height, width) of the view in pixels.
    block
        Side of a block's core in pixels.
    halo
        Pixels read around the core; at least twice the largest nucleus that is accepted.
    """

    shape: tuple[int, int]
    block: int
    halo: int

    def __post_init__(self) -> None:
        if self.block < 1 or self.halo < 0:
            raise ConfigError(f"block must be positive and halo not negative, got {self.block} and {self.halo}")
        # Refused here, before anybody goes through them: a wrong resolution makes slides of absurd size.
        count = math.prod(self.counts)
        if count > MAX_BLOCKS:
            height, width = self.shape
            raise ConfigError(
                f"{width} x {height} pixels in blocks of {self.block} are {count:,} blocks, more than {MAX_BLOCKS:,}: "
                "take a larger --block, or look with 'wsinuc info' whether the slide's size and resolution are right"
            )

    @property
    def counts(self) -> tuple[int, int]:
        """Number of block rows and columns."""
        return ceil_div(self.shape[0], self.block), ceil_div(self.shape[1], self.block)

    def __len__(self) -> int:
        return self.counts[0] * self.counts[1]

    def __getitem__(self, index: int) -> Block:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, column = divmod(index, self.counts[1])
        view = Box.of_shape(self.shape)
        y0 = row * self.block
        x0 = column * self.block
        # Blocks at the right and lower edge are smaller; the halo ends where the slide does.
        core = Box(y0, x0, y0 + self.block, x0 + self.block).clip(view)
        return Block(index=index, core=core, read=core.grow(self.halo).clip(view))

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(len(self)))

    def overlapping(self, box: Box) -> Iterator[Block]:
        """Blocks whose core shares a pixel with ``box``, in index order."""
        rows, columns = self.counts
        for row in range(max(0, box.y0 // self.block), min(rows, ceil_div(box.y1, self.block))):
            for column in range(max(0, box.x0 // self.block), min(columns, ceil_div(box.x1, self.block))):
                yield self[row * columns + column]


STRIPE = 4
"""Rows of blocks in a stripe."""


def in_stripes(grid: BlockGrid, indices: Iterable[int]) -> list[int]:
    """Indices of blocks in an order that comes back to a block's neighbours soon: stripes of a few
    rows, column by column.

    Examples
    --------
    >>> in_stripes(BlockGrid((50, 20), 10, 0), range(10))
    [0, 2, 4, 6, 1, 3, 5, 7, 8, 9]
    """

    def stripe_position(index: int) -> tuple[int, int, int]:
        row, column = divmod(index, grid.counts[1])
        return row // STRIPE, column, row

    return sorted(indices, key=stripe_position)


@dataclass(frozen=True, slots=True)
class Tile:
    """One network input: the ``read`` box it sees and the ``core`` its scores are kept for."""

    core: Box
    """Parts of the plane that no other tile of the grid has; it may leave the view."""
    read: Box
    """The core grown by the margin."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tiles anchored to the view's origin; cores of side ``tile - 2 * margin`` partition the plane."""

    tile: int
    margin: int

    def __post_init__(self) -> None:
        if self.margin < 0 or self.stride < 1:
            raise ConfigError(f"tile {self.tile} must exceed twice the margin {self.margin}")

    @property
    def stride(self) -> int:
        """Side of a tile's core in pixels."""
        return self.tile - 2 * self.margin

    def covering(self, box: Box) -> list[Tile]:
        """The tiles whose cores together cover ``box``, row by row."""
        stride = self.stride
        return [
            Tile(core=core, read=core.grow(self.margin))
            # Floor division: the grid goes on beyond the origin, where boxes with a halo begin.
            for row in range(box.y0 // stride, ceil_div(box.y1, stride))
            for column in range(box.x0 // stride, ceil_div(box.x1, stride))
            for core in [Box(row * stride, column * stride, (row + 1) * stride, (column + 1) * stride)]
        ]
