"""The sentence that describes an image to a joint synthesis: tissue, stain, and which classes of nuclei it shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a prompt of the published template says (Min, Oh, Jeong 2024)."""

    tissue: str
    """``colon``; as the data set writes it, lower case."""
    stain: str = ""
    """``IHC stained``; empty for H&E, which the template does not name."""
    classes: tuple[str, ...] = ()
    """Classes of the nuclei that are present."""
