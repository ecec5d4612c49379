"""What a benchmark says: figures of each stage, and of the machine they were measured on."""

from __future__ import annotations

from dataclasses import dataclass

from wsinuc.workflows.bench.meter import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """One stage. Pixels are view pixels, those that the model works on, of what the stage is responsible for."""

    stage: str
    megapixels: float
    nuclei: int
    seconds: float
    cpu_seconds: float
    mpx_per_s: float
    seconds_per_mm2: float
    cpu_seconds_per_mpx: float
    peak_memory_bytes: int
    """Memory of all processes together while the stage ran, with everything that was loaded already."""
    ceiling: str | None
    """What the stage is held against; None for the whole run."""
    share_of_ceiling: float | None
    """1 is as fast as that alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All that was measured."""

    wsinuc: str
    machine: str
    cores: int
    device: str
    model: str
    """Name or file."""
    identity: str
    """Beginning of the segmenter's."""
    workers: int
    block: int
    repeats: int
    slide: str
    slide_shape: tuple[int, int]
    """(height, width) in level-0 pixels."""
    mpp: float
    """um per view pixel."""
    stages: tuple[StageResult, ...]
    network_busy: float | None
    """Share of the blocks' wall time during which the network worked; None when ``all`` was not asked for."""
    end_to_end_over_network: float | None
    """Wall time of the whole run over that spent inside the network."""


def stage_result(stage: str, usage: Usage, megapixels: float, nuclei: int, mpp: float) -> StageResult:
    """A stage without a ceiling, from what it used; ``mpp`` is um per pixel of its megapixels."""
    return StageResult(
        stage=stage,
        megapixels=megapixels,
        nuclei=nuclei,
        seconds=usage.seconds,
        cpu_seconds=usage.cpu_seconds,
        mpx_per_s=megapixels / usage.seconds,
        seconds_per_mm2=usage.seconds / (megapixels * mpp**2),  # a megapixel of 1 um is 1 mm2
        cpu_seconds_per_mpx=usage.cpu_seconds / megapixels,
        peak_memory_bytes=usage.peak_memory_bytes,
        ceiling=None,
        share_of_ceiling=None,
    )
