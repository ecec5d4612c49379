"""An image in memory to nuclei, by the block task that slides take.

Nothing is written and nothing is looked for first: an image is taken whole. It is read at the model's resolution,
and where it is larger than a block it is worked on block by block, so that memory does not grow with its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from wsinuc import arguments, tissue
from wsinuc.errors import ConfigError
from wsinuc.grid import BlockGrid
from wsinuc.nuclei import Nuclei, concatenate
from wsinuc.nuclei.groups import PixelGroups
from wsinuc.nuclei.measured_names import OF_BLOCKS, OF_PIXELS
from wsinuc.nuclei.stains import FIXED, StainVectors
from wsinuc.pipeline.block import BlockResult, process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.pipeline.scored import MOST_BYTES, MOST_PIXEL_BYTES, ScoredTile, ScoredTiles
from wsinuc.pipeline.seen_image import SeenImage
from wsinuc.recent import Recent
from wsinuc.segmenters.base import ByMeasurement, Segmenter
from wsinuc.slides.view import SlideView


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContent:
    """What a segmenter finds in an image."""

    nuclei: Nuclei
    """Numbered 1 to N, in the order of the blocks."""
    pixels: NDArray[np.uint8] | None
    """What the scores say of each pixel ``(h, w)`` of the view, see `wsinuc.semantic.classes.pixel_map`; None where it
    was not asked for."""


def find_nuclei(
    view: SlideView,
    segmenter: Segmenter,
    *,
    batch_size: int | None = None,
    measure: Sequence[str] = (),
    stains: str = "qupath",
    semantic: bool = False,
    block: int | None = None,
    seen: SeenImage | None = None,
) -> ImageContent:
    """The nuclei of a whole view, with the measurements of some groups.

    Parameters
    ----------
    view
        An image at the resolution of the segmenter.
    batch_size
        Tiles for each call of the network; None takes what suits its device.
    measure, stains
        Groups of `wsinuc.config.GROUPS`, and the stain vectors of their densities.
    semantic
        Whether the class of every pixel is kept.
    block
        Side of a block's core in view pixels; None makes one block of the view.
    seen
        The image as this model, perhaps with other cutoffs, has seen it; None forgets it.

    Raises
    ------
    ConfigError
        The stain vectors are those that are fitted to a slide.
    """
    grid = BlockGrid(view.shape, block or max(view.shape), segmenter.min_halo)
    groups = PixelGroups(tuple(group for group in measure if group in OF_BLOCKS), _stain_vectors(measure, stains))
    everything = tissue.whole(view)
    fitted = calibrated(view, segmenter, everything) if seen is None else seen.fitted(view, segmenter, everything)
    size = batch_size or segmenter.batch_size
    scored = ScoredTiles()
    if seen is not None:
        scored = seen.tiles
    elif len(grid) > 1:
        scored = ScoredTiles(Recent[ScoredTile](MOST_BYTES), Recent[NDArray[np.uint8]](MOST_PIXEL_BYTES))
    pixels = np.zeros(view.shape, np.uint8) if semantic else None
    parts = []
    for each in grid:
        result: BlockResult = process_block(
            view,
            each,
            fitted,
            batch_size=size,
            tissue=everything,
            gate=Lock(),
            scored=scored,
            groups=groups,
            semantic=semantic,
        )
        parts.append(result.nuclei)
        if pixels is not None and result.pixels is not None:
            pixels[each.core.slices] = result.pixels
    nuclei = concatenate(parts).with_ids(1)
    return ImageContent(nuclei=_completed(nuclei, segmenter, measure), pixels=pixels)


def paint_level0(nuclei: Nuclei, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Labels (h, w) in level-0 pixels: a pixel belongs to the nucleus whose outline holds its centre.

    Where the view is the image itself or a whole multiple coarser, this repeats exactly the pixels that were found.
    """
    labels = np.zeros(shape, np.int32)
    scale = np.asarray(nuclei.frame.downsample)
    for number, (start, stop) in zip(nuclei.ids, pairwise(nuclei.offsets), strict=True):
        # Outlines run along pixel edges; polygon() has pixel centres at whole numbers.
        ring = nuclei.outlines[start:stop] * scale - 0.5
        labels[polygon(ring[:, 0], ring[:, 1], shape)] = number
    return labels


def _stain_vectors(measure: Sequence[str], stains: str) -> StainVectors | None:
    """The vectors that densities are measured with; None where none are."""
    if OF_PIXELS.isdisjoint(measure):
        return None
    if arguments.text("stains", stains) not in FIXED:
        raise ConfigError(
            f"stain vectors that are {stains} are measured on a whole slide, which an image is not: "
            f"choose {' or '.join(FIXED)}, or segment the slide"
        )
    return FIXED[stains]


def _completed(nuclei: Nuclei, segmenter: Segmenter, measure: Sequence[str]) -> Nuclei:
    """The nuclei with what is known when all of them are: what lies around them, and classes that follow from that."""
    nuclei = _with_neighbours(nuclei, segmenter, measure)
    if not isinstance(segmenter, ByMeasurement):
        return nuclei
    named = segmenter.with_classes(nuclei)
    # Neighbours of each class are counted by the classes that the nuclei have got.
    return _with_neighbours(named, segmenter, measure)


def _with_neighbours(nuclei: Nuclei, segmenter: Segmenter, measure: Sequence[str]) -> Nuclei:
    if "neighbours" not in measure:
        return nuclei
    # SciPy's trees take a while to import, and most do without.
    from wsinuc.nuclei.neighbours import Neighbourhood

    names = [each.name for each in segmenter.classes]
    around = Neighbourhood(nuclei.centroids, nuclei.classes, names, nuclei.frame.mpp)
    return replace(nuclei, measurements=nuclei.measurements | around.columns(0, len(nuclei)))
