"""CoSyn's U-Net: one network that denoises an image, its distance map and its label, given a layout and a text.

Method C (Min, Oh, Jeong 2024), after the base network of Imagen (Saharia et al. 2022). Image,
distance map and embedded label are projected to the same width and summed; a stem of three kernel
sizes reads the sum. The layout passes through a branch of its own
(`wsinuc.models.conditioning.points_encoder`), is added there, and is shown once more to the last
block. Levels fold before they compute, so that nearly all work is done at half the resolution and
below. The text reaches the network as context to look at and as a vector beside the time
(`wsinuc.models.conditioning.text_conditioner`). Three heads, zero at the start, give the noise of
the image, the noise of the distance map, and the logits of the clean label.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

import torch
from msgspec import Meta
from torch import Tensor, nn

from wsinuc.errors import ConfigError
from wsinuc.models.conditioning.points_encoder import PointsConfig, PointsEncoder
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.conditioning.text_conditioner import TextConditioner
from wsinuc.models.diffusion.joint import JointPrediction, JointUnit
from wsinuc.models.networks.attention import ImageAttention
from wsinuc.models.networks.backward import joined
from wsinuc.models.networks.cosyn_blocks import CrossEmbed, Fold, GatedResBlock, LogSnrEmbedding, Unfold

_LABEL_WIDTH = 3
"""Channels of a label's embedding, as many as the image has."""
_TIME_TOKENS = 2
"""Context tokens that say how noisy the unit is."""
_SKIP_SCALE = 2**-0.5
"""Factor of skip connections, as Imagen and the released code of method C have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoSynConfig:
    """Shape of the network; the defaults are the paper's, about 700 million parameters."""

    classes: Annotated[int, Meta(ge=2, le=65)] = 2
    """Classes of a pixel, background included."""
    text_width: Annotated[int, Meta(ge=0, le=16384)] = 512
    """Width of the text encoder's tokens; PLIP's is 512. With 0 the network reads no text."""
    base: Annotated[int, Meta(ge=32, le=1024)] = 128
    """Width at full resolution."""
    multipliers: Annotated[tuple[Annotated[int, Meta(ge=1, le=32)], ...], Meta(max_length=8)] = (1, 2, 4, 8)
    """Width of each level in units of ``base``; level l works at 1 / 2^(l + 1) of the resolution."""
    blocks: Annotated[tuple[Annotated[int, Meta(ge=1, le=32)], ...], Meta(max_length=8)] = (2, 4, 8, 8)
    """Residual blocks of each level, besides the one that it begins with."""
    attends: Annotated[tuple[bool, ...], Meta(max_length=8)] = (False, True, True, True)
    """Levels whose positions look at each other. Without any the network sees surroundings only, save for its gates."""
    reads: Annotated[tuple[bool, ...], Meta(max_length=8)] = (False, True, True, True)
    """Levels that look at the text."""
    middle_attends: bool = True
    """Whether the positions of the middle block look at each other."""
    fusion: tuple[Annotated[int, Meta(ge=1, le=4096)], Annotated[int, Meta(ge=1, le=4096)]] = (16, 64)
    """Widths to which image, distance map and label are projected before they are summed."""
    kernels: Annotated[tuple[Annotated[int, Meta(ge=1, le=63)], ...], Meta(min_length=1, max_length=8)] = (3, 7, 15)
    """Sides of the stem's parallel kernels."""
    points: PointsConfig | None = field(default_factory=PointsConfig)
    """Shape of the branch that reads the layout; None leaves the branch out, and the network reads no layout."""
    context: Annotated[int, Meta(ge=1, le=8192)] = 128
    """Width of context tokens."""
    latents: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Context tokens of a text."""
    resampler_depth: Annotated[int, Meta(ge=1, le=32)] = 2
    """Blocks in which the latents read the text."""
    heads: Annotated[int, Meta(ge=1, le=128)] = 8
    """Attention heads, of 64 channels each."""

    def __post_init__(self) -> None:
        if not len(self.multipliers) == len(self.blocks) == len(self.attends) == len(self.reads) > 0:
            raise ConfigError("multipliers, blocks, attends and reads must say something of the same levels")
        if self.base % 32 or self.classes < 2 or min(self.blocks) < 1:
            raise ConfigError(
                f"base must be a multiple of 32, classes at least 2 and blocks at least 1, got {self.base}, "
                f"{self.classes} and {self.blocks}"
            )

    @property
    def time_width(self) -> int:
        """Width of the time embedding."""
        return 4 * self.base

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this."""
        return int(2 ** len(self.multipliers))


class _Level(nn.Module):
    """Residual blocks of one level on one side, then attention; consumes or makes one skip per block."""

    def __init__(self, config: CoSynConfig, index: int, skip: int = 0) -> None:
        super().__init__()
        width = config.base * config.multipliers[index]
        time = config.time_width
        reading = config.context if config.reads[index] else 0
        self.first = GatedResBlock(width + skip, width, time, context=reading, heads=config.heads)
        self.blocks = nn.ModuleList(
            GatedResBlock(width + skip, width, time, gated=True) for _ in range(config.blocks[index])
        )
        self.attention = None
        if config.attends[index]:
            self.attention = ImageAttention(width, config.context, config.heads, self_attention=True, factor=2)

    def down(self, x: Tensor, time: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Output, and one skip more than there are blocks."""
        x = self.first(x, time, context)
        skips = []
        for block in self.blocks:
            x = block(x, time, context)
            skips.append(x)
        if self.attention is not None:
            x = self.attention(x, context)
        return x, [*skips, x]

    def up(self, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor) -> Tensor:
        """Output; takes the skips from the end."""
        for block in (self.first, *self.blocks):
            x = block(joined(x, skips.pop() * _SKIP_SCALE), time, context)
        if self.attention is not None:
            x = self.attention(x, context)
        return x


class CoSynUNet(nn.Module):
    """Joint denoiser; it has no state but its weights.

    Parameters
    ----------
    config
        The shape of the network.
    """

    def __init__(self, config: CoSynConfig) -> None:
        super().__init__()
        self.config = config
        base = config.base
        time = config.time_width
        inner, fused = config.fusion
        self.label = nn.Embedding(config.classes, _LABEL_WIDTH)
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, inner, 1), nn.Conv2d(inner, fused, 1)) for c in (3, 1, _LABEL_WIDTH)
        )
        self.stem = CrossEmbed(fused, base, config.kernels)
        self.points = None
        if config.points is not None:
            self.points = PointsEncoder(config.classes, base, config.points)
        self.time = LogSnrEmbedding(time)
        self.time_vector = nn.Linear(time, time)
        self.time_tokens = nn.Linear(time, _TIME_TOKENS * config.context)
        self.text = None
        if config.text_width:
            self.text = TextConditioner(
                config.text_width,
                config.context,
                time,
                latents=config.latents,
                depth=config.resampler_depth,
                heads=config.heads,
            )
        self.context_norm = nn.LayerNorm(config.context)
        self.first = GatedResBlock(base, base, time, gated=True)
        self._build_levels([base * m for m in config.multipliers])
        self.last = GatedResBlock(2 * base, base, time, gated=True)
        self.heads = nn.ModuleList(nn.Conv2d(base, c, 3, padding=1) for c in (3, 1, config.classes))
        # Heads begin at 0, as is usual for diffusion: the first predictions are no noise of their own.
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def _build_levels(self, widths: list[int]) -> None:
        config = self.config
        before = [config.base, *widths[:-1]]
        self.fold = nn.ModuleList(Fold(a, b) for a, b in zip(before, widths, strict=True))
        self.down = nn.ModuleList(_Level(config, i) for i in range(len(widths)))
        reading = config.context if config.reads[-1] else 0
        self.middle_in = GatedResBlock(widths[-1], widths[-1], config.time_width, context=reading, heads=config.heads)
        self.middle = None
        if config.middle_attends:
            self.middle = ImageAttention(widths[-1], config.context, config.heads, self_attention=True)
        self.middle_out = GatedResBlock(widths[-1], widths[-1], config.time_width, context=reading, heads=config.heads)
        self.up = nn.ModuleList(_Level(config, i, skip=width) for i, width in enumerate(widths))
        self.unfold = nn.ModuleList(Unfold(b, a) for a, b in zip(before, widths, strict=True))

    def forward(self, unit: JointUnit, log_snr: Tensor, points: Tensor, text: TextTokens | None) -> JointPrediction:
        """Noise of image and distance map, and logits of the clean label.

        Parameters
        ----------
        unit
            Noisy; h and w multiples of ``config.stride``.
        log_snr
            ``(n,)`` of the unit.
        points
            Layouts, int64 ``(n, h, w)``: class of the nucleus at this pixel, 0 where there is none. Not looked at by
            a network without that branch.
        text
            One per sample; a text whose mask hides every token is no text, None is none for all. Not looked at by a
            network that reads no text.

        Raises
        ------
        ConfigError
            The size does not fit the network's levels, or the text comes from another encoder.
        """
        height, width = unit.label.shape[-2:]
        if height % self.config.stride or width % self.config.stride:
            raise ConfigError(f"height and width must be multiples of {self.config.stride}, got {(height, width)}")
        time, context = self._conditions(log_snr, text)
        label = self.label(unit.label).movedim(-1, 1)
        fused = torch.stack([fuse(x) for fuse, x in zip(self.fuse, (unit.image, unit.distance, label), strict=True)])
        shown = self.stem(fused.sum(0))
        if self.points is not None:
            shown = shown + self.points(points)
        x = self._levels(self.first(shown, time, context), time, context)
        # The input once more at full resolution, which the levels fold away.
        x = self.last(joined(x, shown), time, context)
        return JointPrediction(*(head(x) for head in self.heads))

    def _conditions(self, log_snr: Tensor, text: TextTokens | None) -> tuple[Tensor, Tensor]:
        """Time embedding with the text's vector in it, and the context of text and time tokens."""
        hidden = self.time(log_snr)
        moments = self.time_tokens(hidden).unflatten(1, (_TIME_TOKENS, -1))
        if self.text is None:
            return self.time_vector(hidden), self.context_norm(moments)
        tokens, pooled = self.text(text, len(log_snr))
        context = self.context_norm(torch.cat([tokens, moments.to(tokens.dtype)], dim=1))
        return self.time_vector(hidden) + pooled, context

    def _levels(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        # A ModuleList is typed as one of any modules; these hold what `_build_levels` has put into them.
        down = cast(list[_Level], list(self.down))
        up = cast(list[_Level], list(self.up))
        skips: list[Tensor] = []
        for fold, level in zip(self.fold, down, strict=True):
            x, own = level.down(fold(x), time, context)
            skips += own
        x = self.middle_in(x, time, context)
        if self.middle is not None:
            x = self.middle(x, context)
        x = self.middle_out(x, time, context)
        for unfold, level in zip(list(self.unfold)[::-1], up[::-1], strict=True):
            x = unfold(level.up(x, skips, time, context))
        return x
