"""What a model says of nuclei: from their pixels alone, or from their outlines as well."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from helpers.odd.checkpoints import tiny_segmenter
from wsinuc.grid import Box
from wsinuc.metrics.calibration import certainty
from wsinuc.metrics.shape_odds import ShapeOdds
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.segmenters import segmenter_from
from wsinuc.segmenters.tiled import TiledSegmenter


def model(**settings: object) -> TiledSegmenter:
    checkpoint = tiny_segmenter()
    changed = replace(checkpoint, config=checkpoint.config | settings)
    segmenter = segmenter_from(changed, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(segmenter, TiledSegmenter)
    return segmenter


@pytest.fixture
def nuclei() -> Nuclei:
    """A square and a thin cross of the same pixels."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:25, 5:25] = 1
    labels[18:22, 30:56] = 2
    labels[5:35, 41:45] = 2
    scores = np.full((3, 40, 60), 220, np.uint8)
    segmenter = model()
    return measure(labels, scores, Box(0, 0, 40, 60), Frame(0.5, (1.0, 1.0)), segmenter.classes[:1])


def test_the_outline_counts_where_the_header_says_so(nuclei: Nuclei) -> None:
    odds = ShapeOdds(solidity=5.0)
    line = (2.0, -1.0)
    by_pixels = model(certainty=line).certainty(nuclei)
    assert by_pixels[0] == by_pixels[1]
    square, cross = model(certainty=line, shape_odds=asdict(odds)).certainty(nuclei)
    assert square > by_pixels[0] > cross
    expected = certainty(odds.claims(nuclei.probabilities, nuclei.measurements), line)
    assert [square, cross] == expected.tolist()
