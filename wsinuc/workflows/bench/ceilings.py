"""What this machine could do at best: the one thing that each stage of a run cannot do without, alone.

Reading must decode JPEG, a network must convolve, separation must at least find connected components, measuring must
look at every score, rendering must compress, exporting must write numbers as text. Each is measured in the process and
on the data of the stage that it is held against, so a share of a ceiling means the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cc3d
import imagecodecs
import numpy as np
import orjson
from numpy.typing import NDArray

from wsinuc.nuclei import Nuclei
from wsinuc.workflows.bench.meter import typical

TILE = 256
CHUNK = 512
QUALITY = 80
CHANNELS = 128
"""Channels of the convolution that stands for the network; U-Nets have as many where they spend their time."""


def jpeg_decoding(pixels: NDArray[np.uint8], repeats: int) -> float:
    """Pixels decoded per CPU second: tiles of ``pixels`` (h, w, 3) as JPEG in memory."""
    # In memory, so that the disk is no part of the ceiling.
    tiles = [imagecodecs.jpeg8_encode(tile, level=QUALITY) for tile in _squares(pixels, TILE)]
    decoded = sum(tile.size // 3 for tile in _squares(pixels, TILE))
    return decoded / _cpu_seconds(lambda: [imagecodecs.jpeg8_decode(tile) for tile in tiles], repeats)


def components(labels: NDArray[np.int32], repeats: int) -> float:
    """Pixels per CPU second of connected components, found once."""
    return labels.size / _cpu_seconds(lambda: cc3d.connected_components(labels > 0, connectivity=4), repeats)


def copying(scores: NDArray[np.uint8], repeats: int) -> float:
    """Pixels per CPU second of copying the scores (channels, h, w) and labels of the same size."""
    labels = np.zeros(scores.shape[1:], np.int32)
    return labels.size / _cpu_seconds(lambda: (scores.copy(), labels.copy()), repeats)


def compressing(labels: NDArray[np.uint32], classes: NDArray[np.uint8], repeats: int) -> float:
    """Pixels per CPU second of compressing both label images as they are stored, without their pyramid."""
    chunks = [chunk for image in (labels, classes) for chunk in _squares(image, CHUNK)]
    return labels.size / _cpu_seconds(
        lambda: [imagecodecs.zstd_encode(chunk.tobytes(), level=1) for chunk in chunks], repeats
    )


def bare_features(nuclei: Nuclei, repeats: int) -> float:
    """Nuclei per CPU second of features with an outline and a class and nothing else, by orjson."""
    rings = [ring.tolist() for ring in np.split(nuclei.outlines, nuclei.offsets[1:-1])]

    def write() -> None:
        for ring in rings:
            geometry = {"type": "Polygon", "coordinates": [ring]}
            orjson.dumps({"type": "Feature", "geometry": geometry, "properties": {"classification": "a"}})

    return len(nuclei) / _cpu_seconds(write, repeats)


def convolving(device: Any, dtype: Any, repeats: int) -> float:
    """FLOP per second of wall time of a 3 x 3 convolution; ``device`` and ``dtype`` are PyTorch's."""
    work, operations = convolution(device, dtype)
    return operations / typical(work, repeats).seconds


def convolution(device: Any, dtype: Any) -> tuple[Callable[[], None], int]:
    """Work that does 3 x 3 convolutions and nothing else, done when it returns, and its floating-point operations."""
    import torch

    from wsinuc.models.devices import on_device

    side = 512 if device.type == "cuda" else 128
    layer = on_device(torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), device, dtype)
    images = torch.zeros(1, CHANNELS, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            # Ten in a row, so that the time of starting one does not count.
            for _ in range(10):
                layer(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    return run, 10 * 2 * 9 * CHANNELS**2 * side**2


def flop(work: Callable[[], object]) -> int:
    """Floating-point operations of PyTorch's matrix products and convolutions in ``work``."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def _cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    return max(typical(work, repeats).cpu_seconds, 1e-9)


def _squares(image: NDArray[Any], side: int) -> list[NDArray[Any]]:
    return [
        np.ascontiguousarray(image[y : y + side, x : x + side])
        for y in range(0, image.shape[0], side)
        for x in range(0, image.shape[1], side)
    ]
