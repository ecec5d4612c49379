"""What a benchmark measures, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError
from wsinuc.workflows.bench.synthetic_slide import SyntheticSlideConfig

STAGES = ("read", "network", "separate", "measure", "render", "export", "all")


SHARED = ("model", "device", "tissue", "workers", "block")
"""Settings that a benchmark has in common with a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    slide: Path | None = None
    """A slide; None makes one."""
    width: int = 4096
    height: int = 4096
    """Height in pixels of the slide that is made; ``width`` is its width."""
    model: str = "default"
    device: str = "auto"
    tissue: str = "auto"
    """Where to look, as in ``SegmentConfig``."""
    stages: tuple[str, ...] = STAGES
    repeats: int = 3
    """How often every stage but ``all`` is run; medians are reported."""
    workers: int = 2
    block: int = 1024
    """Side of a block in view pixels."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.stages if name not in STAGES]
        if unknown or not self.stages:
            raise ConfigError(f"no such stage: {', '.join(unknown) or 'none given'}; choose from {', '.join(STAGES)}")
        if self.repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {self.repeats}")
        # Both check themselves when they are made: what cannot be must show before a slide is made.
        _ = self.settings, self.size

    @property
    def settings(self) -> SegmentConfig:
        """The settings of a run with these choices."""
        return SegmentConfig(**{name: getattr(self, name) for name in SHARED})

    @property
    def size(self) -> SyntheticSlideConfig | None:
        """The slide that is made; None where one is given."""
        if self.slide:
            return None
        return SyntheticSlideConfig(width=self.width, height=self.height)
