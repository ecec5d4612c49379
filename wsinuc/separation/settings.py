"""How scores become instances, as numbers; plans read them, too, and load nothing that separates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from wsinuc.config import MPP_RANGE
from wsinuc.errors import ConfigError

Threshold = Annotated[float, Meta(gt=0, le=1)]
Area = Annotated[float, Meta(ge=0, le=1e5)]
MAX_DIAMETER_UM = 500.0
"""Widest nucleus in um that settings may ask for; it decides the halo."""
MAX_TAPS = 255
"""Longest smoothing kernel in pixels, a standard deviation of 8 px; the numbers of a longer one would not be exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatershedSettings:
    """How scores become instances. Lengths are in um, so one setting serves every resolution.

    Raises
    ------
    ConfigError
        A number is out of its range, or a kernel would be longer than `MAX_TAPS`.
    """

    mpp: float
    """um per pixel of the maps."""
    foreground_threshold: Threshold = 0.5
    """Probability from which a pixel is nucleus."""
    min_area_um2: Area = 5.0
    """Smaller instances are dropped. A whole lymphocyte has about 20 um2, but a section shows parts of nuclei too."""
    max_hole_um2: Area = 10.0
    """Gaps in the foreground up to this area are chromatin, not background: less than the smallest nucleus."""
    max_diameter_um: Annotated[float, Meta(gt=0, le=MAX_DIAMETER_UM)] = 25.0
    """Largest nucleus whose result is promised to be the same in every block; larger ones are kept."""
    smoothing_um: Annotated[float, Meta(ge=0, le=20)] = 0.5
    """Standard deviation of the smoothing of the distance map, about what the optics resolve; 0 is none."""
    marker_threshold: Threshold = 0.3
    """Smoothed distance from which a pixel belongs to a marker."""
    marker_height: Threshold = 0.1
    """Rise above the saddle between them from which two peaks of one marker are two nuclei; 1 never splits."""
    min_marker_um2: Area = 1.0
    """Smaller markers are noise."""
    opening_um: Annotated[float, Meta(ge=0, le=5)] = 0.0
    """Radius of the disc that each instance is opened by: tongues that are narrower go; 0 keeps them."""
    sobel_um: Annotated[float, Meta(gt=0, le=100)] = 2.75
    """Size of the derivative kernel of the H and V maps: 11 px at 0.25 um per px (HoVer-Net has 21)."""
    edge_threshold: Threshold = 0.07
    """Edge strength from which a pixel belongs to no marker: 1 is the sharpest edge between two nuclei side by side,
    0.5 that between a nucleus and background. Low, because edges are weaker where nuclei touch aslant and where a
    network hesitates."""

    def __post_init__(self) -> None:
        if not MPP_RANGE[0] <= self.mpp <= MPP_RANGE[1]:
            raise ConfigError(f"mpp must lie between {MPP_RANGE[0]} and {MPP_RANGE[1]} um per pixel, got {self.mpp}")
        for name in ("foreground_threshold", "marker_threshold", "marker_height", "edge_threshold"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must lie above 0 and at most at 1, got {getattr(self, name)}")
        for name in ("min_area_um2", "max_hole_um2", "smoothing_um", "min_marker_um2", "opening_um"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("max_diameter_um", "sobel_um"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for name, taps in (("smoothing_um", self.taps(self.smoothing_um)), ("sobel_um", self.sobel_taps)):
            if taps > MAX_TAPS:
                raise ConfigError(
                    f"{name} must not exceed what a kernel of {MAX_TAPS} px holds at {self.mpp} um per pixel, got "
                    f"{getattr(self, name)}"
                )

    @property
    def min_halo(self) -> int:
        """Pixels to read around a block: twice the largest nucleus, which covers it and a neighbour that it touches."""
        return 2 * math.ceil(self.max_diameter_um / self.mpp)

    @property
    def sobel_taps(self) -> int:
        """Odd length of the derivative kernel of the H and V maps."""
        return max(3, 2 * round(self.sobel_um / self.mpp / 2) + 1)

    @property
    def max_area_um2(self) -> float:
        """Area of a disc as wide as the largest nucleus."""
        return math.pi * self.max_diameter_um**2 / 4

    def area_px(self, area_um2: float) -> int:
        """An area in pixels, at least one."""
        return max(1, round(area_um2 / self.mpp**2))

    def taps(self, sigma_um: float) -> int:
        """Odd length of the binomial kernel with about this standard deviation (its variance is (taps - 1) / 4)."""
        return 1 + 2 * round(2 * (sigma_um / self.mpp) ** 2)
