"""The plain U-Net (Ronneberger et al. 2015) trained from nothing: the yardstick that every method should beat.

Two 3x3 convolutions per level, each with batch normalisation and ReLU, padded so that the size stays; max-pooling down,
transposed convolutions up. Batch normalisation has fixed statistics once trained: what a pixel gets depends on its
surroundings alone, never on the tile that shows it.

Both ways of changing resolution depend on which pixels happen to be joined, so a slide that begins
a pixel further gives other nuclei. The ``smooth`` form halves the resolution by a mean that keeps
what the coarser grid can hold and no more, as sampling asks for (Zhang 2019), and doubles it by
interpolation. The ``fold``ed form works on squares of pixels whose colours it takes as so many
channels, and unfolds its outputs again: outlines as fine as the image at the cost of a coarser one.
That halves the resolution, too, without any mean: ``blur`` is the one that goes before.

With ``gated`` skip connections it is the Attention U-Net (`wsinuc.models.networks.attention_gate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from wsinuc.errors import ConfigError
from wsinuc.models.networks.attention_gate import AttentionGate
from wsinuc.models.networks.backward import TransposedConv, joined
from wsinuc.models.networks.dense import DenseNetwork, DenseOutput, without_rim
from wsinuc.models.networks.smoothing import HalvingMean, folded_blur


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedUNetConfig:
    """Shape of the network."""

    classes: Annotated[int, Meta(ge=1, le=65)]
    """Outputs for classes, with background."""
    maps: Annotated[int, Meta(ge=0, le=8)]
    """Outputs for separation."""
    base: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Width of the finest level; each coarser one has twice as many channels (the original has 64)."""
    levels: Annotated[int, Meta(ge=1, le=8)] = 4
    """Resolutions, the finest included (the original has 5)."""
    smooth: bool = False
    """Means down and interpolation up, instead of the original's maxima and transposed convolutions."""
    fold: Annotated[int, Meta(ge=1, le=16)] = 1
    """Side in pixels of the squares that are one pixel of the finest level."""
    blur: Annotated[int, Meta(ge=1, le=63)] = 1
    """Taps of the binomial filter that the image is seen through; 5 have a standard deviation of
    one pixel, 1 is none."""

    def __post_init__(self) -> None:
        if self.base < 1 or self.levels < 1:
            raise ConfigError(f"a U-Net needs a width and a level, got base {self.base} and {self.levels} levels")
        if self.fold < 1:
            raise ConfigError(f"squares that are folded have a side of at least 1 px, got {self.fold}")
        if self.blur < 1 or self.blur % 2 == 0:
            raise ConfigError(f"a filter that moves nothing has an odd number of taps, got {self.blur}")

    @property
    def stride(self) -> int:
        """Input height and width must be multiples of this."""
        return int(self.fold * 2 ** (self.levels - 1))

    @property
    def reach(self) -> int:
        """Pixels around one that can influence it: two convolutions a level and way, and what pooling puts together."""
        coarsest: int = 2 ** (self.levels - 1)
        finer: int = sum(4 * 2**level for level in range(self.levels - 1))
        # A mean of 4 pixels in steps of 2 reaches three times as far as a maximum of 2.
        if self.smooth:
            joined = 3 * (coarsest - 1)
        else:
            joined = coarsest - 1
        return self.fold * (finer + 2 * coarsest + joined) + self.fold - 1 + self.blur // 2


def gated_reach(config: SupervisedUNetConfig) -> int:
    """As `SupervisedUNetConfig.reach`, where skip connections are gated: weights are interpolated between the pixels
    of the coarser level."""
    joined: int = sum(2 ** (level + 1) for level in range(1, config.levels - 1))
    return config.reach + config.fold * joined


class SupervisedUNet(DenseNetwork):
    """Images ``(n, 3, h, w)`` in [-1, 1] to `DenseOutput`; see the module's text.

    Parameters
    ----------
    gated
        Whether the coarser levels decide what of the skip connections, but the finest, is let through.
    """

    def __init__(self, config: SupervisedUNetConfig, *, gated: bool = False) -> None:
        super().__init__()
        self.config = config
        widths = [config.base * 2**level for level in range(config.levels)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3 * config.fold**2, *widths], widths, strict=False))
        self.pool: nn.Module = nn.MaxPool2d(2)
        if config.smooth:
            self.pool = HalvingMean()
        coarser = list(pairwise(widths))[::-1]
        lift = _interpolated if config.smooth else _transposed
        self.lift = nn.ModuleList(lift(wide, narrow) for narrow, wide in coarser)
        self.up = nn.ModuleList(_double(2 * narrow, narrow) for narrow, _ in coarser)
        # One less than there are skip connections, the coarsest first.
        gates = coarser[:-1] if gated else []
        self.gates = nn.ModuleList(AttentionGate(narrow, wide, narrow) for narrow, wide in gates)
        self.head = nn.Conv2d(widths[0], (config.classes + config.maps) * config.fold**2, 1)

    def forward(self, x: Tensor) -> DenseOutput:
        return self.inner(x, 0)

    def inner(self, x: Tensor, drop: int) -> DenseOutput:
        """See `DenseNetwork.inner`: on its way up the network works on no more than what is kept is made of."""
        if x.shape[-2] % self.config.stride or x.shape[-1] % self.config.stride:
            raise ConfigError(f"height and width must be multiples of {self.config.stride}, got {tuple(x.shape[-2:])}")
        x = folded_blur(x, self.config.blur, self.config.fold)
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()  # the coarsest level is where the way up begins
        starts = self._starts(drop)
        begins = 0  # pixels from the edge at which x begins, at its own level
        for number, (lift, block, start) in enumerate(zip(self.lift, self.up, starts[::-1], strict=True)):
            rim = start - 2 * begins
            skip = without_rim(skips.pop(), 2 * begins)
            if number < len(self.gates):
                skip = self.gates[number](skip, x)
            x = block(joined(without_rim(skip, rim), without_rim(lift(x), rim)))
            begins = start
        whole = drop // self.config.fold
        folded_scores = self.head(without_rim(x, whole - begins))
        # Planes, which are made fp32 by themselves later: three times as fast as from channels that lie last.
        raw = functional.pixel_shuffle(folded_scores.contiguous(), self.config.fold)
        rest = drop - whole * self.config.fold
        return DenseOutput(raw[:, : self.config.classes], raw[:, self.config.classes :]).without(rest)

    def _starts(self, drop: int) -> list[int]:
        """Where the way up begins at each level but the coarsest, finest first, in its pixels from the edge.

        Two convolutions reach two pixels, and interpolation one of the coarser ones.
        """
        starts = []
        needed = drop // self.config.fold
        for _ in self.up:
            starts.append(max(0, needed - 2))
            needed = max(0, (starts[-1] - 1) // 2)
        return starts


def folded(weights: dict[str, Tensor], fold: int) -> dict[str, Tensor]:
    """Weights of a network that does at ``fold`` times coarser pixels what ``weights`` do without folding.

    It sees the mean of every square of pixels, and gives all of them the same outputs: a start to train from.
    """
    # Folding puts the pixels of a square side by side for each colour, and takes outputs apart in the same order.
    first = weights["down.0.0.weight"].repeat_interleave(fold**2, 1) / fold**2
    last = {name: weights[name].repeat_interleave(fold**2, 0) for name in ("head.weight", "head.bias")}
    return weights | {"down.0.0.weight": first} | last


def _transposed(wide: int, narrow: int) -> nn.Module:
    return TransposedConv(wide, narrow, 2, stride=2)


def _interpolated(wide: int, narrow: int) -> nn.Module:
    """Fewer channels first: the same result at a quarter of the cost."""
    return nn.Sequential(nn.Conv2d(wide, narrow, 1), nn.Upsample(scale_factor=2, mode="bilinear"))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Twice convolution, batch normalisation, ReLU; the normalisation's shift makes a bias idle."""
    parts: list[nn.Module] = []
    for width in (inputs, outputs):
        parts += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)
