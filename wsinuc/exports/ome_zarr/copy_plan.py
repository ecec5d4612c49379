"""How much of a slide is copied beside the labels, and how the copy lies below them; reads no pixel."""

from __future__ import annotations

from dataclasses import dataclass

from wsinuc.config import check_image
from wsinuc.exports.ome_zarr.metadata import Canvas
from wsinuc.slides.view import SlideView

COPY_MPP = 1.0
"""um per pixel of a thumbnail."""
TOLERANCE = 0.4
"""Share by which the slide's own level may differ from that, to be taken as it is."""


@dataclass(frozen=True, slots=True)
class SlideCopy:
    """What is copied of a slide: see ``plan_copy``."""

    labels: SlideView
    """The view whose pixels are those of the label images."""
    pixels: SlideView | None
    """What is copied; None for nothing."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the copy."""
        return (self.pixels or self.labels).shape

    @property
    def is_exact(self) -> bool:
        """Whether the copy keeps every pixel of the view, and all of its bits."""
        return self.pixels == self.labels

    @property
    def scale(self) -> tuple[float, float]:
        """um per pixel of the copy, (y, x), by the labels' measure: so both cover the same area."""
        mpp = self.labels.mpp
        y, x = self.ratio
        return y * mpp, x * mpp

    @property
    def ratio(self) -> tuple[float, float]:
        """Pixels of the labels per pixel of the copy, (y, x)."""
        own = (self.pixels or self.labels).downsample
        of_labels = self.labels.downsample
        return own[0] / of_labels[0], own[1] / of_labels[1]

    def levels(self, count: int) -> Canvas:
        """The pyramid of ``count`` levels; labels must have as many."""
        y, x = self.scale
        scales = tuple((y * 2**level, x * 2**level) for level in range(count))
        return Canvas(scales=scales, labels_mpp=self.labels.mpp)


def plan_copy(view: SlideView, image: str) -> SlideCopy:
    """What ``--image`` asks to be copied of the slide of this view.

    Parameters
    ----------
    view
        The slide as it was segmented.
    image
        One of ``wsinuc.config.IMAGES``.

    Raises
    ------
    ConfigError
        It is none of them.
    """
    check_image(image)
    if image == "none":
        return SlideCopy(view, None)
    coarse = view.slide.at(COPY_MPP, TOLERANCE)
    # Never finer than the labels: such pixels would be shown beside none.
    if image == "full" or coarse.mpp <= view.mpp:
        return SlideCopy(view, view)
    return SlideCopy(view, coarse)
