"""The pixels that classifiers learn from: features and targets, row by row (method A, sections 2.3 and 2.4).

Every annotated image is viewed one or more times, each time stained, zoomed and turned anew. On
each view its features are computed once and read, interpolated, at chosen pixels only. Feature maps
are never kept, let alone enlarged: 448 images of 256 px at 2688 features would be 316 GB in fp32,
the rows that a training can use are a few. Rows beyond a budget of memory go to a file that is
mapped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import jitter_stain, parted, resized
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.grid import Box
from wsinuc.models.features.extractor import NOISE_PERIOD, FeatureExtractor, sample_features
from wsinuc.models.pixels import to_network
from wsinuc.orientation import dihedral
from wsinuc.separation.targets import map_targets

IGNORED = -100
"""Class of pixels whose class nobody knows; cross-entropy passes over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """Which pixels become rows. `paper` has the published values."""

    visits: int = 8
    """Times that each image is seen under another augmentation."""
    pixels: int | None = 1000
    """Pixels read per visit; None reads all that are kept."""
    background_share: float = 0.1
    """Share of the background pixels that is kept; 1 keeps them all."""
    min_class_pixels: int = 20
    """A class with fewer pixels in an image is ignored there."""
    ignored_rows: bool = True
    """Keep nucleus pixels without a class: they still teach the maps."""
    view: int = 512
    """Larger images are cropped at random to this side, in pixels of the model, so that memory is bounded."""
    zoom: float = 1.25
    stain: float = 0.2
    turn: bool = True
    """Mirror and turn by right angles."""
    shift: bool = True
    """Move the noise texture at random; False shows every image the same noise, as published."""
    memory_gib: float = 6.0
    """When the rows may need more, or ``pixels`` is None, they lie in a file next to the output
    while the training runs."""

    def __post_init__(self) -> None:
        if self.visits < 1 or (self.pixels is not None and self.pixels < 1):
            raise ConfigError(f"sampling needs at least 1 visit of 1 pixel, got {self.visits} of {self.pixels}")
        if not 0 < self.background_share <= 1:
            raise ConfigError(f"background_share must lie above 0 and at most at 1, got {self.background_share}")

    @classmethod
    def paper(cls) -> SamplingConfig:
        """As published: every pixel of nuclei and a tenth of the others, each image once and as it is."""
        return cls(visits=1, pixels=None, zoom=1.0, stain=0.0, turn=False, shift=False, ignored_rows=False)


@dataclass(frozen=True, slots=True, eq=False)
class PixelTable:
    """Features and targets of the sampled pixels, row by row."""

    features: torch.Tensor
    """``(rows, width)`` fp16, in memory or mapped from a file."""
    classes: torch.Tensor
    """``(rows,)`` int64, 0 is background, `IGNORED` is unknown."""
    maps: torch.Tensor
    """``(rows, maps)`` fp32; only rows of nuclei count for H and V."""
    images: torch.Tensor | None = None
    """``(rows,)`` int64, from which image each row is, by its position; None where nobody asks."""

    def __len__(self) -> int:
        return len(self.classes)


def class_targets(
    labels: NDArray[np.int32], classes: NDArray[np.int32] | None, min_pixels: int = 1
) -> NDArray[np.int64]:
    """Class of each pixel ``(h, w)``: 0 background, 1..C, `IGNORED` where it is unknown or too rare to be trusted.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, one number per nucleus.
    classes
        Class of each label, 0 where it is unknown; None makes every nucleus class 1.
    min_pixels
        A class with fewer pixels in this image is ignored (Baranchuk et al.'s code: 20).

    Examples
    --------
    >>> class_targets(np.array([[0, 1, 2, 2]], np.int32), np.array([0, 0, 3], np.int32)).tolist()
    [[0, -100, 3, 3]]
    """
    if classes is None:
        wanted = (labels > 0).astype(np.int64)
    else:
        wanted = np.where(labels > 0, classes[labels], 0).astype(np.int64)
        # A nucleus of unknown class is no background, and must not teach that it were.
        wanted[(labels > 0) & (wanted == 0)] = IGNORED
    present, counts = np.unique(wanted[wanted > 0], return_counts=True)
    wanted[np.isin(wanted, present[counts < min_pixels])] = IGNORED
    return wanted


def choose_pixels(
    wanted: NDArray[np.int64],
    rng: np.random.Generator,
    config: SamplingConfig,
    ignore: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Pixels ``(k, 2)`` (y, x) that become rows: all nuclei and a share of the background, thinned to ``pixels``.

    Pixels of ``ignore`` ``(h, w)`` never do.
    """
    eligible = (wanted != 0) | (rng.random(wanted.shape) < config.background_share)
    if ignore is not None:
        eligible &= ~ignore
    if not config.ignored_rows:
        eligible &= wanted != IGNORED
    places = np.flatnonzero(eligible)
    if config.pixels is not None and len(places) > config.pixels:
        places = rng.choice(places, config.pixels, replace=False)
    return np.stack(np.unravel_index(places, wanted.shape), axis=1).astype(np.int64)


def view_of(
    sample: LabelledImage, mpp: float, rng: np.random.Generator, config: SamplingConfig
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Image and labels as another laboratory would have them, at ``mpp``, no side longer than ``config.view``.

    Labels of ignored pixels are negative, see `parted`.
    """
    # Even in the logarithm, so that enlarging and shrinking are equally likely.
    factor = sample.mpp / mpp * float(np.exp(rng.uniform(-1, 1) * np.log(config.zoom)))
    height, width = sample.labels.shape
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    image, labels = resized(sample, Box.of_shape(sample.labels.shape), shape)
    y, x = (int(rng.integers(max(1, side - config.view + 1))) for side in labels.shape)
    window = np.s_[y : y + config.view, x : x + config.view]
    turn = int(rng.integers(8)) if config.turn else 0
    image = image[window]
    labels = labels[window]
    if config.stain:
        image = jitter_stain(image, rng, config.stain)
    return dihedral(image, turn), dihedral(labels, turn)


def padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image mirrored at its lower and right border up to a multiple of the noise's period."""
    missing = [(0, -side % NOISE_PERIOD) for side in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric")


class RowStore:
    """Rows of fp16 features, appended one view after another, never held twice.

    Parameters
    ----------
    capacity
        The most rows that will come; memory is taken for all of them at once and used as they come.
        None when it is not known.
    memory_gib
        When the rows may need more, or nobody knows, they go to a file in ``folder`` instead, which
        is mapped at the end. It has no name, so it goes with the process, however that ends.
    """

    def __init__(self, width: int, capacity: int | None, memory_gib: float, folder: Path) -> None:
        self._width = width
        self._folder = folder
        self._rows = 0
        # fp16: two bytes a feature.
        fits = capacity is not None and capacity * width * 2 <= memory_gib * 2**30
        self._memory = None
        if fits:
            self._memory = torch.empty(capacity or 0, width, dtype=torch.float16)
        self._file: IO[bytes] | None = None

    def append(self, features: torch.Tensor) -> None:
        """Add rows ``(k, width)``; raises OutputError when the disk is full."""
        start = self._rows
        self._rows += len(features)
        if self._memory is not None:
            self._memory[start : self._rows] = features
            return
        try:
            if self._file is None:
                # Beside the output, where callers want it: /tmp is often memory, the very thing that is short.
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # open until it is mapped
            self._file.write(features.half().contiguous().numpy().tobytes())
            # A full disk shows here, and not when the rows are read.
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"cannot keep {self._rows} rows of {self._width} features in {self._folder} ({error.strerror}): "
                "free space there, or read fewer pixels per visit"
            ) from error

    def finish(self) -> torch.Tensor:
        """All rows as one fp16 tensor, without a copy."""
        if self._memory is not None:
            return self._memory[: self._rows]
        if self._file is None:
            return torch.empty(0, self._width, dtype=torch.float16)
        # The mapping keeps the content alive.
        with self._file as file:
            return torch.from_numpy(np.memmap(file, np.float16, mode="r+", shape=(self._rows, self._width)))


def collect_pixels(
    dataset: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    mpp: float,
    config: SamplingConfig,
    *,
    separation: str = "distance",
    seed: int = 0,
    folder: Path | None = None,
    on_visit: Callable[[int, int], None] = lambda done, total: None,
) -> PixelTable:
    """Features and targets of chosen pixels of every image under every augmentation.

    Parameters
    ----------
    folder
        Where rows beyond the budget go; the system's folder for temporary files by default.

    Raises
    ------
    DataError
        The data set is empty or holds no nucleus.
    OutputError
        The rows fit neither memory nor disk.
    """
    capacity = None
    if config.pixels is not None:
        capacity = config.visits * len(dataset) * config.pixels
    where = folder or Path(tempfile.gettempdir())
    # Rows are written as they come; two copies of the largest table would not fit.
    store = RowStore(sum(extractor.channels.values()), capacity, config.memory_gib, where)
    targets = []
    visits = _visits(dataset, extractor, mpp, config, separation, seed)
    for done, (features, classes, maps) in enumerate(visits, start=1):
        store.append(features)
        # Visit by visit, each through all images.
        image = torch.full_like(classes, (done - 1) % len(dataset))
        targets.append((classes, maps, image))
        on_visit(done, config.visits * len(dataset))
    if not any(bool((classes > 0).any()) for classes, _, _ in targets):
        raise DataError("no annotated nucleus to learn from: check the data set's labels and filters")
    classes, maps, images = (torch.cat(column) for column in zip(*targets, strict=True))
    return PixelTable(store.finish(), classes, maps, images)


def _visits(
    dataset: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    mpp: float,
    config: SamplingConfig,
    separation: str,
    seed: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Features, classes and maps of the pixels of one visit after another."""
    weight = extractor.unet.stem.weight
    for visit in range(config.visits):
        for index, sample in enumerate(dataset):
            # A generator for each view: adding images or visits leaves the others' views as they are.
            rng = np.random.default_rng((seed, visit, index))
            image, signed = view_of(sample, mpp, rng, config)
            labels, ignore = parted(signed)
            wanted = class_targets(np.where(ignore, 0, labels), sample.classes, config.min_class_pixels)
            points = choose_pixels(wanted, rng, config, ignore)
            maps = map_targets(labels, separation)
            pixels = to_network(padded(image)[None], weight.device)
            if config.shift:
                shift = (int(rng.integers(NOISE_PERIOD)), int(rng.integers(NOISE_PERIOD)))
            else:
                shift = (0, 0)
            yield (
                sample_features(extractor(pixels, shift), 0, torch.from_numpy(points)).cpu(),
                torch.from_numpy(wanted[points[:, 0], points[:, 1]]),
                torch.from_numpy(np.ascontiguousarray(maps[:, points[:, 0], points[:, 1]].T)),
            )
