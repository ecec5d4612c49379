"""Which parts of a slide are worth looking at: tissue, and the user's region of interest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.config import SegmentConfig
from wsinuc.errors import DataError
from wsinuc.grid import Box, ceil_div
from wsinuc.nuclei import Nuclei
from wsinuc.slides.view import SlideView
from wsinuc.tissue import Region, TissueMask, find_tissue, load_region, load_tissue, whole
from wsinuc.tissue.region import counted_from


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueSelection:
    """Tissue, and of that the region of interest if there is one."""

    tissue: TissueMask
    wanted: TissueMask
    """Tissue that is also in the region."""
    region: Region | None
    region_mask: TissueMask | None
    reach: int
    """View pixels around the region that are looked at too, so that no nucleus is cut at its border."""

    @property
    def tissue_hash(self) -> str:
        """Names the tissue mask: two processes with equal hashes look at the same places, and see the same there."""
        masks = [mask for mask in (self.tissue.mask, self.tissue.padding) if mask is not None]
        content = b"".join(str(mask.shape).encode() + np.packbits(mask).tobytes() for mask in masks)
        # A mask that was given and one that was searched for may be equal, and differ in which nuclei they hold.
        origin = b"" if self.tissue.kinds is None else b"found"
        return hashlib.sha256(content + origin).hexdigest()[:32]

    def touches(self, box: Box) -> bool:
        """Whether ``box`` holds tissue and is in or near the region."""
        return self.tissue.touches(box) and self.near_region(box)

    def near_region(self, box: Box) -> bool:
        """Whether a nucleus in the region may reach into ``box``."""
        return self.region_mask is None or self.region_mask.touches(box.grow(self.reach))

    def without_padding(self, pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of a box of the view with black padding made white."""
        return self.tissue.without_padding(pixels, box)

    def wanted_of(self, nuclei: Nuclei) -> Nuclei:
        """The nuclei with their centroid in tissue, where tissue was searched, and in the region; numbered anew."""
        if not len(nuclei):
            return nuclei
        is_wanted = self.tissue.holds(nuclei.centroids)
        if self.region is not None:
            is_wanted &= self.region.contains(nuclei.level0_centroids())
        if is_wanted.all():
            return nuclei
        return nuclei.select(is_wanted).with_ids(1)

    def wanted_pixels(self, pixels: NDArray[np.uint8], box: Box, downsample: tuple[float, float]) -> NDArray[np.uint8]:
        """Values of the pixels of a box of the view, 0 where their centre is not in tissue, or not in the region.

        As with nuclei: a mask that was found says no where something else than tissue is, one that a user gave only
        says where to look. ``downsample`` are level-0 pixels per pixel of the view, (y, x).
        """
        wanted = np.where(self.tissue.holds_pixels(box), pixels, 0).astype(np.uint8)
        if self.region is not None:
            rows, columns = np.nonzero(wanted)
            corners = np.stack([rows + box.y0, columns + box.x0], axis=1).astype(np.float64)
            centres = (corners + 0.5) * np.asarray(downsample, np.float64)
            outside = ~self.region.contains(centres)
            wanted[rows[outside], columns[outside]] = 0
        return wanted


def select(view: SlideView, config: SegmentConfig, reach: int) -> TissueSelection:
    """The tissue and the region that ``config.tissue`` and ``config.roi`` ask for.

    Parameters
    ----------
    reach
        View pixels around the region that are looked at as well.

    Raises
    ------
    DataError
        A file is not what it should be, or the region selects no tissue.
    """
    if config.tissue == "auto":
        tissue = find_tissue(view)
    elif config.tissue == "none":
        tissue = whole(view)
    else:
        tissue = load_tissue(config.tissue, view)
    if config.roi is None:
        return TissueSelection(tissue=tissue, wanted=tissue, region=None, region_mask=None, reach=reach)
    region = load_region(config.roi, origin_yx=view.slide.origin)
    region_mask = region.to_mask(view)
    wanted = both(tissue, region_mask)
    if not wanted.mask.any():
        raise DataError(_no_tissue(region, tissue, view, str(config.tissue)))
    return TissueSelection(tissue=tissue, wanted=wanted, region=region, region_mask=region_mask, reach=reach)


def both(tissue: TissueMask, region: TissueMask) -> TissueMask:
    """Cells of the region whose corner lies in tissue; where there are no such cells, those that touch any.

    The grids of the two masks may differ.
    """
    height, width = region.mask.shape
    rows = np.arange(height) * tissue.mask.shape[0] // height
    columns = np.arange(width) * tissue.mask.shape[1] // width
    mask = region.mask & tissue.mask[np.ix_(rows, columns)]
    if not mask.any() and tissue.mask.any():
        mask = region.mask & _any_below(tissue.mask, (height, width))
    return TissueMask(mask, tissue.shape)


def _any_below(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(shape) whether a cell of a grid over the same area shares an area with a True cell of ``mask``."""
    # An integral image, padded with zeros above and on the left: four of its values count the cells of a box.
    sums = np.pad(mask.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    height, width = shape
    rows = np.arange(height)
    columns = np.arange(width)
    top = rows * mask.shape[0] // height
    bottom = ceil_div((rows + 1) * mask.shape[0], height)
    left = columns * mask.shape[1] // width
    right = ceil_div((columns + 1) * mask.shape[1], width)
    below = sums[bottom]
    above = sums[top]
    counts: NDArray[np.int64] = below[:, right] - above[:, right] - below[:, left] + above[:, left]
    return counts > 0


def _no_tissue(region: Region, tissue: TissueMask, view: SlideView, source: str) -> str:
    """What to say of a region without tissue in it: where both lie, as the user sees them."""
    box = tissue.bounds()
    if box is None:
        where = "the slide has no tissue that could be found"
    else:
        dy, dx = view.downsample
        where = f"the tissue spans {region.drawn((box.x0 * dx, box.y0 * dy, box.x1 * dx, box.y1 * dy))}"
    other = "" if source == "auto" else f" ({source})"
    return (
        f"{region.source} selects no tissue: its polygons span {region.drawn(region.outlines.bounds)}, "
        f"{where}{other}, in "
        f"level-0 px{counted_from(view)}: is it for another slide? To look there all the same, add --tissue none"
    )
