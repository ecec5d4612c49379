"""What another laboratory would have done to the same tissue: stain, scale, orientation, focus.

Functions take an array and a generator and return a new array; labels follow their image where geometry changes.
`augmented_crop` puts them together: what a training sees of a random place of an annotated image.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsinuc.datasets.augmentation.artefacts import with_artefact
from wsinuc.datasets.augmentation.compaction import compacted
from wsinuc.datasets.augmentation.crowding import crowded
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.orientation import dihedral

View = tuple[NDArray[np.uint8], NDArray[np.int32]]
"""RGB ``(h, w, 3)`` and instance labels ``(h, w)``."""

# Optical density of haematoxylin, eosin and DAB per RGB channel (Ruifrok & Johnston 2001), unit rows.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STAINS /= np.linalg.norm(STAINS, axis=1, keepdims=True)
UNMIX = np.linalg.inv(STAINS)
EOSIN = 1
"""Which of the stains it is."""

COARSE = (1.5, 4.0)
"""How many times as many um a pixel of a coarse slide may have."""
COMPACT = (1.1, 1.8)
"""How much wider than the crop the field is whose nuclei are drawn together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far a training image may be from the annotated one. Flips and right-angle turns are always among it."""

    zoom: float = 1.3
    """A crop shows between ``1 / zoom`` and ``zoom`` of its nominal field."""
    stain: float = 0.5
    """Strength of the stain jitter; see `jitter_stain`."""
    blur: float = 0.0
    """Probability of a Gaussian blur with a standard deviation of 0.25 to 0.5 um (1 to 2 px at 40x)."""
    coarse: float = 0.0
    """Probability of pixels as a slide has them that was scanned with 1.5 to 4 times as many um per pixel."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise in grey levels; each image gets between none and this."""
    dyes: float = 0.0
    """How far the dyes' own colours may be others; see `mix_densities`."""
    light: float = 0.0
    """Probability of another brightness (factor 0.5 to 1.5) and contrast (0.6 to 1.4)."""
    jpeg: float = 0.0
    """Probability of a compression as JPEG at quality 30 to 90, as slide scanners use it."""
    crowd: float = 0.0
    """Probability of nuclei shown once more beside others, up to twice as many; see
    `wsinuc.datasets.augmentation.crowding`."""
    artefacts: float = 0.0
    """Probability of a stroke of ink, a fold or dust; see `wsinuc.datasets.augmentation.artefacts`."""
    compact: float = 0.0
    """Probability of a wider field whose nuclei are drawn together; see `wsinuc.datasets.augmentation.compaction`."""

    def __post_init__(self) -> None:
        if self.zoom < 1 or not 0 <= self.stain < 1 or min(self.noise, self.dyes) < 0:
            raise ConfigError(f"zoom must be at least 1, stain in [0, 1), noise and dyes not negative; got {self}")
        chances = (self.blur, self.coarse, self.light, self.jpeg, self.crowd, self.compact, self.artefacts)
        if not all(0 <= chance <= 1 for chance in chances):
            raise ConfigError(
                "blur, coarse, light, jpeg, crowd, compact and artefacts are probabilities from 0 to 1, got "
                f"{', '.join(map(str, chances))}"
            )


def density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density of grey levels, natural logarithm; white is 0, and black finite."""
    levels: NDArray[np.float32] = -np.log((image.astype(np.float32) + 1) / 256)
    return levels


def grey_levels(densities: NDArray[np.float32], light: float = 1.0) -> NDArray[np.uint8]:
    """The inverse of `density`, under a lamp of ``light`` times the brightness."""
    # Cut off rather than rounded: rounding would draw other training crops from the same seed.
    levels: NDArray[np.float32] = np.clip(np.exp(-densities) * 256 * light - 1, 0, 255)
    return levels.astype(np.uint8)


def jitter_stain(image: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """The image as if stained and scanned elsewhere.

    Each stain's density is multiplied by ``1 + U(-strength, strength)`` and shifted by a fifth of that, then brightness
    is scaled by up to a fifth of ``strength``.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    strength
        From 0, which changes nothing (up to rounding), to below 1.
    """
    stains = density(image.reshape(-1, 3)) @ UNMIX.astype(np.float32)
    gain = 1 + rng.uniform(-strength, strength, 3)
    shift = rng.uniform(-strength, strength, 3) / 5
    mixed = (stains * gain + shift).astype(np.float32) @ STAINS.astype(np.float32)
    light = 1 + rng.uniform(-strength, strength) / 5
    return grey_levels(mixed, light).reshape(image.shape)


def mix_densities(image: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """The image as if its dyes had other colours, or another camera had seen them.

    Optical densities are multiplied by the unit matrix plus normal noise, so a blue haematoxylin becomes a grey or a
    violet one, which no strength of known stains gives. Glass stays white.

    Parameters
    ----------
    image
        RGB uint8 ``(h, w, 3)``.
    strength
        Standard deviation of the noise; 0 changes nothing (up to rounding).
    """
    mixed = density(image.reshape(-1, 3)) @ (np.eye(3) + strength * rng.standard_normal((3, 3))).astype(np.float32)
    return grey_levels(mixed).reshape(image.shape)


def augmented_crop(
    sample: LabelledImage,
    mpp: float,
    rng: np.random.Generator,
    *,
    size: int,
    augmentation: Augmentation,
    turned: bool = True,
) -> View:
    """A random square of an annotated image as another laboratory would have shown it.

    Every place is equally likely. The image is anti-aliased where it shrinks, labels take the nearest pixel, and an
    image smaller than the square is continued by mirroring.

    Parameters
    ----------
    mpp
        um per pixel of the crop, before zooming.
    size
        Side of the crop in pixels.
    augmentation
        How far it may be from what was annotated.
    turned
        Whether it is flipped and turned by right angles as well.

    Returns
    -------
    image
        RGB uint8 ``(size, size, 3)``.
    labels
        int32 ``(size, size)``, with the image's own numbers; where pixels are ignored negative, see `parted`.
    """
    zoom = float(np.exp(rng.uniform(-1, 1) * np.log(augmentation.zoom)))
    factor = mpp / sample.mpp * zoom
    # What is off draws no random number, so that it changes no crop of a training without it.
    drawn = augmentation.compact and rng.random() < augmentation.compact
    wide = round(size * rng.uniform(*COMPACT)) if drawn else size
    field_px = max(2, round(wide * factor))
    height, width = (min(field_px, extent) for extent in sample.labels.shape)
    y = int(rng.integers(sample.labels.shape[0] - height + 1))
    x = int(rng.integers(sample.labels.shape[1] - width + 1))
    shape = (max(1, round(height / factor)), max(1, round(width / factor)))
    image, labels = resized(sample, Box(y, x, y + height, x + width), shape)
    if drawn:
        image, labels = compacted(image, labels, rng, size)
    # What is missing is shared out at random between both sides, so that mirrors lie anywhere.
    missing = [max(0, size - extent) for extent in labels.shape]
    before = [int(rng.integers(lack + 1)) if lack else 0 for lack in missing]
    around = [(start, lack - start) for start, lack in zip(before, missing, strict=True)]
    image = np.pad(image, [*around, (0, 0)], mode="symmetric")[:size, :size]
    labels = np.pad(labels, around, mode="symmetric")[:size, :size]
    if augmentation.crowd and rng.random() < augmentation.crowd:
        image, labels = crowded(image, labels, rng, rng.uniform(0, 1))
    if augmentation.artefacts and rng.random() < augmentation.artefacts:
        image, labels = with_artefact(image, labels, mpp, rng)
    turn = int(rng.integers(8)) if turned else 0
    return _turned(turn, distorted(image, mpp, rng, augmentation), labels)


def distorted(
    image: NDArray[np.uint8], mpp: float, rng: np.random.Generator, augmentation: Augmentation
) -> NDArray[np.uint8]:
    """The image ``(h, w, 3)`` at ``mpp`` with another stain, light, focus, noise and compression; geometry stays."""
    image = jitter_stain(image, rng, augmentation.stain)
    if augmentation.dyes:
        image = mix_densities(image, rng, augmentation.dyes)
    if augmentation.light and rng.random() < augmentation.light:
        bright = image * rng.uniform(0.5, 1.5)
        # Contrast turns around it, so that it does not change the brightness once more.
        mean = bright.mean()
        image = _clipped(mean + (bright - mean) * rng.uniform(0.6, 1.4))
    if augmentation.blur and rng.random() < augmentation.blur:
        sigma = rng.uniform(0.25, 0.5) / mpp
        image = _clipped(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)))
    if augmentation.coarse and rng.random() < augmentation.coarse:
        image = _coarsened(image, rng.uniform(*COARSE))
    if augmentation.noise:
        level = rng.uniform(0, augmentation.noise)
        image = _clipped(image + level * rng.standard_normal(image.shape))
    if augmentation.jpeg and rng.random() < augmentation.jpeg:
        image = _compressed(image, int(rng.integers(30, 91)))
    return image


def _coarsened(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """The image from ``factor`` times fewer pixels a side: means of them, enlarged again as a reader enlarges."""
    height, width = image.shape[:2]
    fewer = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = Image.fromarray(image).resize(fewer, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What JPEG leaves of an image."""
    stream = BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def _clipped(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    levels: NDArray[np.floating] = np.clip(np.rint(values), 0, 255)
    return levels.astype(np.uint8)


def resized(sample: LabelledImage, window: Box, shape: tuple[int, int]) -> View:
    """The pixels of ``window`` resampled to ``shape`` (h, w); labels of ignored pixels are negative, see `parted`."""
    size = (shape[1], shape[0])
    # Pillow widens the filter where it shrinks, which is what anti-aliases.
    image = Image.fromarray(sample.image[window.slices]).resize(size, Image.Resampling.BILINEAR)
    numbers = sample.labels[window.slices]
    if sample.ignore is not None:
        # One array for both, so that whatever moves labels moves what is ignored, too.
        numbers = np.where(sample.ignore[window.slices], -1 - numbers, numbers)
    labels = Image.fromarray(numbers).resize(size, Image.Resampling.NEAREST)
    return np.asarray(image), np.asarray(labels, np.int32)


def parted(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Labels, and which pixels are ignored, of labels in which an ignored pixel of nucleus ``n`` has ``-1 - n``.

    Examples
    --------
    >>> labels, ignore = parted(np.array([0, 7, -1, -8], np.int32))
    >>> labels.tolist(), ignore.tolist()
    ([0, 7, 0, 7], [False, False, True, True])
    """
    ignore = labels < 0
    return np.where(ignore, -1 - labels, labels), ignore


def _turned(turn: int, image: NDArray[np.uint8], labels: NDArray[np.int32]) -> View:
    return np.ascontiguousarray(dihedral(image, turn)), np.ascontiguousarray(dihedral(labels, turn))
