"""Every knob of a run as frozen data, standard library only.

A config is what the command line builds and what ``summary.json`` records; nothing below ``workflows`` reads options
from anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import ConfigError

MPP_RANGE = (0.05, 2.0)
"""um per pixel outside this range are typing errors or broken metadata, not microscopes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConfig:
    """Settings of ``wsinuc segment`` for one slide; values outside their range raise `ConfigError`.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.SegmentConfig(model="accurate", mpp=0.25)
    >>> config.model, config.mpp, config.block
    ('accurate', 0.25, 2048)
    """

    model: str = "default"
    """Name of a shipped model or path of a segmenter checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    mpp: float | None = None
    """um per level-0 pixel given by the user; None takes it from the file."""
    reader: str = "auto"
    """auto, or one of ``wsinuc.slides.READERS``: openslide, tiffslide, tiff or image."""
    tissue: str = "auto"
    """auto, none, or the path of a mask (PNG, or GeoJSON as for ``roi``)."""
    roi: Path | None = None
    """GeoJSON in level-0 pixels from ``Slide.origin``, as QuPath draws it, or its zip; only nuclei
    with their centroid inside are kept."""
    block: int = 2048
    """Side of a block's core in view pixels. Larger wastes less halo, smaller needs less memory."""
    batch_size: int | None = None
    """Tiles per forward pass; None takes what suits the device. Part of the result's identity: a
    convolution's last bits depend on it."""
    workers: int = 2
    """Blocks alive at once. Does not change the result."""
    max_unreadable: float = 0.05
    """Largest share of the tissue's pixels that may be undecodable before the run fails."""
    resume: bool = True
    """Continue an interrupted run with the same settings."""
    verify_input: bool = False
    """Hash all of the slide, instead of samples: the hash is recorded, and a run that is continued compares it."""
    report: bool = True
    """Write ``report.html``. Does not change the other outputs."""
    overwrite: bool = False
    """Replace an existing result."""
    work: Path | None = None
    """Folder in which results below a URL are made, on a file system that all workers see; None takes the user's cache.
    Does not change the result."""

    def __post_init__(self) -> None:
        if self.mpp is not None and not MPP_RANGE[0] <= self.mpp <= MPP_RANGE[1]:
            raise ConfigError(
                f"mpp must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]} um per pixel, got {self.mpp:g}: "
                "0.25 is usual for a 40x scan, 0.5 for 20x"
            )
        for name, low in (("block", 64), ("batch_size", 1), ("workers", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
        if self.block % 64:
            raise ConfigError(f"block must be a multiple of 64 so that Zarr chunks align with it, got {self.block}")
        if not 0.0 <= self.max_unreadable <= 1.0:
            raise ConfigError(f"max_unreadable is a share between 0 and 1, got {self.max_unreadable}")
