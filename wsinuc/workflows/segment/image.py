"""``wsinuc.segment_image``: pixels in memory to labels and a table, without a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsinuc.config import check_min_area, check_threshold, measured_groups
from wsinuc.errors import DataError
from wsinuc.pipeline.image import find_nuclei, paint_level0
from wsinuc.results.image import SegmentedImage
from wsinuc.segmenters.base import Measuring, Segmenter, check_segmenter
from wsinuc.segmenters.cutoffs import with_cutoffs
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.resolution import check_given_mpp
from wsinuc.urls import PathLike
from wsinuc.workflows.segment.plan import check_mpp

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 2048
"""Side of the blocks in which a large image is worked on, as `wsinuc.SegmentConfig.block`."""
_NAME = "the image"


def segment_image(
    image: ArrayLike | Image,
    *,
    mpp: float,
    model: PathLike = "default",
    device: str = "auto",
    measure: str = "shape,stain",
    stains: str = "qupath",
    threshold: float | None = None,
    min_area_um2: float | None = None,
    segmenter: Segmenter | None = None,
) -> SegmentedImage:
    """Find the nuclei of an image in memory: an array, a PIL image, a tile, a region of a slide.

    The image is taken whole, without a search for tissue, and is worked on as a slide is, so that its nuclei are
    those of `wsinuc.segment_slide`. Nothing is written. A model that adjusts itself to the colours of a slide adjusts
    itself to this image; a whole slide is a task for `wsinuc.segment_slide`, not for a loop over its tiles.

    Parameters
    ----------
    image
        RGB of any height and width, uint8 ``(h, w, 3)``, or what NumPy makes that of.
    mpp
        um per pixel of the image; 0.25 is usual for a 40x scan, 0.5 for 20x.
    model
        A name of `wsinuc.shipped_models`, or the path of a checkpoint.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    measure
        Groups of measurements: some of shape, stain, texture and neighbours with commas between them, ``all`` or
        ``none``.
    stains
        Stain vectors of optical densities: ``qupath`` or ``ruifrok``.
    threshold, min_area_um2
        Foreground probability from which a pixel, and area from which an instance is a nucleus, as
        `wsinuc.SegmentConfig` has them; None takes the model's own.
    segmenter
        A loaded model (`wsinuc.load_segmenter`), which takes the place of ``model`` and ``device``: a loop over
        images loads it once.

    Returns
    -------
    SegmentedImage
        Labels at the size of the image, and the table.

    Raises
    ------
    DataError
        The image is no RGB in uint8, or is empty.
    MppError
        ``mpp`` is no microscope's, or one that the model was not made for.
    ConfigError
        There is no such group of measurements or such stain vectors, or the model needs others; or a threshold or
        area is out of its range.
    CheckpointError, DeviceError
        The model cannot be loaded, or there is no such device.

    Examples
    --------
    >>> import numpy as np
    >>> import wsinuc
    >>> from PIL import Image
    >>> segmenter = wsinuc.load_segmenter("student", device="cpu")
    >>> tile = Image.open("examples/data/field.png").crop((0, 0, 96, 96))
    >>> segmented = wsinuc.segment_image(tile, mpp=0.499, segmenter=segmenter)
    >>> segmented.labels.shape, int(segmented.labels.max()) == len(segmented) > 0
    ((96, 96), True)
    >>> segmented.to_arrow().select(["id", "x", "y", "area_um2"]).column_names
    ['id', 'x', 'y', 'area_um2']
    >>> segmented.overlay().shape
    (96, 96, 3)
    """
    pixels = rgb_array(image)
    groups = measured_groups(measure)
    check_threshold(threshold)
    check_min_area(min_area_um2)
    with ArraySlide(pixels, mpp=check_given_mpp(mpp)) as slide:
        if segmenter is None:
            segmenter = _load(model, device)
        check_segmenter(segmenter)
        segmenter = with_cutoffs(segmenter, threshold=threshold, min_area_um2=min_area_um2)
        check_mpp(slide.mpp, segmenter, _NAME)
        if isinstance(segmenter, Measuring):
            segmenter.needs.require(groups, stains)
        view = slide.at(segmenter.mpp)
        nuclei = find_nuclei(view, segmenter, measure=groups, stains=stains, block=BLOCK).nuclei
    height, width, _ = pixels.shape
    return SegmentedImage(image=pixels, mpp=slide.mpp, labels=paint_level0(nuclei, (height, width)), nuclei=nuclei)


def rgb_array(image: ArrayLike | Image) -> NDArray[np.uint8]:
    """An image as RGB, uint8 ``(h, w, 3)``.

    Raises
    ------
    DataError
        It is something else; the message says how to make RGB of it.

    Examples
    --------
    >>> rgb_array(np.zeros((2, 3, 3), np.uint8)).shape
    (2, 3, 3)
    >>> rgb_array(np.zeros((0, 0, 3)))
    Traceback (most recent call last):
    wsinuc.errors.DataError: expected an RGB image as uint8 (height, width, 3), got float64 (0, 0, 3): it holds no pixel
    """
    try:
        pixels = np.asarray(image)
    except Exception as error:  # whatever has an __array__ of its own raises what it likes
        raise DataError(f"expected an RGB image as uint8 (height, width, 3), got {type(image).__name__}") from error
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == object or pixels.ndim == 0:
        got = type(image).__name__
    else:
        got = f"{pixels.dtype} {pixels.shape}"
    raise DataError(f"expected an RGB image as uint8 (height, width, 3), got {got}: {_advice(pixels)}")


def _advice(pixels: NDArray[np.generic]) -> str:
    """How to make RGB of what is none."""
    if pixels.dtype == object or pixels.ndim == 0:
        return "open a file with PIL.Image.open, or as a slide with wsinuc.open_slide and its read"
    if not pixels.size:
        return "it holds no pixel"
    if pixels.ndim == 2:
        return "one channel alone is no H&E; of a grey photo take PIL's .convert('RGB') or skimage.color.gray2rgb"
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return "leave the transparency out with image[..., :3] or PIL's .convert('RGB')"
    if pixels.ndim == 3 and pixels.shape[2] != 3 and pixels.shape[0] == 3:
        return "channels come last, so use np.moveaxis(image, 0, -1)"
    if pixels.ndim == 4:
        return "give the images of a batch one by one"
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return "convert values with skimage.util.img_as_ubyte, which takes floats for 0 to 1"
    return "give red, green and blue along the last axis"


def _load(model: PathLike, device: str) -> Segmenter:
    # Imported here, so that a caller with a segmenter of its own needs no torch.
    from wsinuc.segmenters import load_segmenter

    return load_segmenter(model, device=device)
