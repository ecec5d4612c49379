"""What a text encoder gives to the network that listens to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from wsinuc.synthesis.prompts import Prompt


@dataclass(frozen=True, slots=True, eq=False)
class TextTokens:
    """Prompts of a batch as vectors."""

    tokens: Tensor
    """float (n, length, width)."""
    mask: Tensor
    """bool (n, length): True where there is a token."""


class TextEncoder(Protocol):
    """A frozen encoder of prompts."""

    @property
    def width(self) -> int:
        """Width of a token."""

    def __call__(self, prompts: Sequence[Prompt | str]) -> TextTokens:
        """Encode prompts; raises ConfigError, naming the words it knows, for one that it cannot."""

    def config(self) -> dict[str, Any]:
        """JSON types from which `wsinuc.models.conditioning.text_encoders.load_text_encoder` makes
        the same encoder again."""
