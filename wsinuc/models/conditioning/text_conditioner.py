"""From text tokens to what a network needs of them: a few context tokens, and one vector beside the time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsinuc.errors import ConfigError
from wsinuc.models.conditioning.text import TextTokens
from wsinuc.models.networks.attention import PerceiverResampler


class TextConditioner(nn.Module):
    """Texts of any length as ``latents`` context tokens and one pooled vector.

    A text is absent when its mask hides all its tokens (it was dropped in training), or when there is no text at all. A
    learned null token then takes its place, so that both are the very same; padding has no influence on a text.

    Parameters
    ----------
    text_width
        Of the encoder's tokens.
    width
        Of the context tokens.
    time_width
        Of the pooled vector.
    """

    def __init__(self, text_width: int, width: int, time_width: int, *, latents: int, depth: int, heads: int) -> None:
        super().__init__()
        self.text_width = text_width
        self.project = nn.Linear(text_width, width)
        self.null_token = nn.Parameter(torch.randn(width) * 0.02)
        self.null_pooled = nn.Parameter(torch.randn(time_width) * 0.02)
        self.resampler = PerceiverResampler(width, latents, depth, heads)
        self.pool = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )

    def forward(self, text: TextTokens | None, n: int) -> tuple[Tensor, Tensor]:
        """``(n, latents, width)`` and ``(n, time_width)``.

        Raises
        ------
        ConfigError
            The tokens are of another width than the network was made for.
        """
        null = self.null_token.expand(n, 1, -1)
        if text is None:
            tokens = null
            mask = torch.ones(n, 1, dtype=torch.bool, device=null.device)
        else:
            if text.tokens.shape[-1] != self.text_width:
                raise ConfigError(
                    f"the network reads text tokens {self.text_width} wide, got {text.tokens.shape[-1]}: use the text "
                    "encoder that it was trained with"
                )
            # The null token comes first in every text, and is in sight only where no other token is.
            own = self.project(text.tokens.to(self.project.weight.dtype))
            tokens = torch.cat([null.to(own.dtype), own], dim=1)
            mask = torch.cat([~text.mask.any(1, keepdim=True), text.mask], dim=1)
        context = self.resampler(tokens, mask)
        pooled = torch.where(mask[:, :1], self.null_pooled.to(context.dtype), self.pool(context.mean(1)))
        return context, pooled
