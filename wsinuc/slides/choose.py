"""Which reader opens a file, when the user leaves it open.

The better view wins. A scanner's own format goes to OpenSlide, which knows bounds, overlaps and what its maker wrote
about the objective. A TIFF is first looked at through its directories (no pixel is decoded for that), and OpenSlide
keeps it only when it sees the same slide: the levels, the resolution, and pixels that are plain, because it takes the
first of three channels for grey, cuts 12 bits to the upper 8 and ignores that an image is stored upside down.

1. A TIFF in a scanner's own format: OpenSlide (tiffslide at a URL, or where OpenSlide refuses), unless its pixels are
   not plain 8-bit RGB or grey, or it sees a much smaller image than the file holds; then ``tiff``.
2. Any other TIFF: OpenSlide, when it sees the same levels and resolution and the pixels are plain; else ``tiff``. A
   single image in strips, which nothing can be read of without the rest, is an ordinary ``image``.
3. What is no TIFF: OpenSlide (MIRAX, DICOM, Hamamatsu VMS, ...), else ``image`` (PNG, JPEG).

What is understood and cannot be right (floating point, stacks, fluorescence) is refused, whoever would open it.
"""

from __future__ import annotations

import math

from wsinuc.slides.base import SlideHeader

SAME_MPP = 0.01
"""Relative difference up to which two resolutions are the same."""
MUCH_LARGER = 2.0
"""How many times OpenSlide's pixels the largest image of a scanner's file must have before OpenSlide is doubted."""


def sees_less(seen: SlideHeader, tiff: SlideHeader) -> str | None:
    """Why OpenSlide's view of a TIFF file is worse than what its directories hold; None when it is as good.

    Parameters
    ----------
    seen
        What OpenSlide says of the file.
    tiff
        What the reader ``tiff`` says of it.

    Examples
    --------
    >>> one = SlideHeader(vendor="generic-tiff", level_shapes=((800, 600),), mpp_yx=(0.5, 0.5))
    >>> two = SlideHeader(vendor="tiff", level_shapes=((800, 600), (400, 300)), mpp_yx=(0.5, 0.5))
    >>> sees_less(one, two)
    'it sees other levels'
    >>> sees_less(one, one) is None
    True
    """
    if tiff.dialect != "rgb":
        return f"it does not read {tiff.dialect}"
    # Of its makers' formats OpenSlide knows more than tags say; only a much smaller image means that it got lost.
    if seen.vendor != "generic-tiff":
        if _pixels(tiff) > MUCH_LARGER * _pixels(seen):
            return "it sees a smaller image"
        return None
    # OpenSlide opens it as a generic TIFF: without the pyramid in SubIFDs, channels and resolution.
    if tiff.vendor == "ome-tiff":
        return "it does not read OME-XML"
    if seen.level_shapes != tiff.level_shapes:
        return "it sees other levels"
    if not _same_mpp(seen.mpp_yx, tiff.mpp_yx):
        return "it sees another resolution"
    return None


def _pixels(header: SlideHeader) -> int:
    return math.prod(header.level_shapes[0])


def _same_mpp(seen: tuple[float, float] | None, tiff: tuple[float, float] | None) -> bool:
    # OpenSlide takes the tags of the first image, which may be a thumbnail or a level.
    if tiff is None or seen is None:
        return tiff is seen
    return all(abs(a / b - 1.0) <= SAME_MPP for a, b in zip(seen, tiff, strict=True))
