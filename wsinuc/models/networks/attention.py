"""Attention to text: latents that sum up a text of any length, and positions of an image that look at them.

After Imagen (Saharia et al. 2022, appendix B), whose text tokens pass through a Perceiver resampler
(Jaegle et al. 2021): a fixed number of learned latents reads the tokens, and the image looks at the
latents alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD = 64
"""Channels of an attention head."""


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention of ``(n, queries, c)`` to ``(n, keys, c)``, by heads; ``mask`` (n, keys) is True where one may look."""

    seen = None if mask is None else mask[:, None, None]
    q, k, v = (_by_heads(x, heads) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return mixed.transpose(1, 2).flatten(2)


def _by_heads(x: Tensor, heads: int) -> Tensor:
    """``(n, tokens, c)`` as ``(n, heads, tokens, c / heads)``."""
    n, tokens, _ = x.shape
    return x.reshape(n, tokens, heads, -1).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Norm, expansion by ``factor``, and back."""

    def __init__(self, width: int, factor: int) -> None:
        inner = width * factor
        super().__init__(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class TokenAttention(nn.Module):
    """Tokens look at a context; the residual is added by the caller.

    With ``self_attention`` they look at each other as well. A learned null key is always in sight, so that
    there is something to look at when the context says nothing.
    """

    def __init__(self, width: int, context: int, heads: int, *, self_attention: bool = False) -> None:
        super().__init__()
        inner = heads * HEAD
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.pair = nn.Sequential(nn.LayerNorm(context), nn.Linear(context, 2 * inner, bias=False))
        self.own = None
        if self_attention:
            self.own = nn.Linear(width, 2 * inner, bias=False)
        self.null = nn.Parameter(torch.randn(2 * inner) * 0.02)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(n, tokens, width)`` of tokens and context ``(n, m, c)``; ``mask`` (n, m) is True where one may look."""
        x = self.norm(x)
        pairs = [self.pair(context)]
        pairs.append(self.null.to(pairs[0].dtype).expand(len(x), 1, -1))
        if self.own is not None:
            pairs.append(self.own(x))
        if mask is not None:
            mask = F.pad(mask, (0, sum(p.shape[1] for p in pairs[1:])), value=True)
        k, v = torch.cat(pairs, dim=1).chunk(2, dim=-1)
        out: Tensor = self.out(_attend(self.query(x), k, v, self.heads, mask))
        return out


class PerceiverResampler(nn.Module):
    """``(n, latents, width)`` of tokens ``(n, length, width)``; those that the mask hides have no influence."""

    def __init__(self, width: int, latents: int, depth: int, heads: int, factor: int = 4) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.attentions = nn.ModuleList(TokenAttention(width, width, heads, self_attention=True) for _ in range(depth))
        self.feeds = nn.ModuleList(FeedForward(width, factor) for _ in range(depth))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.latents.to(tokens.dtype).expand(len(tokens), -1, -1)
        for attention, feed in zip(self.attentions, self.feeds, strict=True):
            x = x + attention(x, tokens, mask)
            x = x + feed(x)
        return x


class ImageAttention(nn.Module):
    """Positions of ``(n, c, h, w)`` look at a context, and at each other with ``self_attention``; residual."""

    def __init__(self, channels: int, context: int, heads: int, *, self_attention: bool, factor: int = 0) -> None:
        super().__init__()
        self.attention = TokenAttention(channels, context, heads, self_attention=self_attention)
        self.feed = None
        if factor:
            self.feed = FeedForward(channels, factor)
        nn.init.zeros_(self.attention.out.weight)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, context)
        if self.feed is not None:
            tokens = tokens + self.feed(tokens)
        # A fresh copy: of a single image the strides of the view above leave open which layout it
        # has, and norms refuse it.
        image: Tensor = tokens.transpose(1, 2).view(x.shape)
        return image.clone(memory_format=torch.channels_last)
