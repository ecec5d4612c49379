"""wsinuc inside other programs' workers: slides and segmenters cross into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import wsinuc
from helpers.oracle import MPP, OracleSegmenter

BOXES = [wsinuc.Box(y, x, y + 96, x + 96) for y in (0, 300, 600) for x in (0, 350)]


class Tiles(torch.utils.data.Dataset[NDArray[np.int32]]):
    """Labels of tiles of a slide, as a loader of features would read them."""

    def __init__(self, slide: wsinuc.Slide, segmenter: wsinuc.Segmenter) -> None:
        self.slide = slide
        self.segmenter = segmenter

    def __len__(self) -> int:
        return len(BOXES)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        pixels = self.slide.read(BOXES[index])
        return wsinuc.segment_image(pixels, mpp=MPP, segmenter=self.segmenter).labels


def test_workers_of_a_data_loader_read_and_segment(slide: Path) -> None:
    with wsinuc.open_slide(slide, mpp=MPP) as opened:
        tiles = Tiles(opened, OracleSegmenter())
        # Read first, so that the workers are forked from a process that has the file open.
        expected = [tiles[index] for index in range(len(tiles))]
        loader = torch.utils.data.DataLoader(
            tiles, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=120
        )
        loaded = [labels.numpy() for labels in loader]
    assert max(labels.max() for labels in expected) > 0
    assert all(np.array_equal(*pair) for pair in zip(loaded, expected, strict=True))
