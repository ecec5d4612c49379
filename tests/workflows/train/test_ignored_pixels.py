"""Pixels that nobody annotated: whatever is drawn or predicted there, no loss, threshold, row or rule changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.oracle import MPP, OracleSegmenter, plane
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage, cut
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.separation.joining import join_tree
from wsinuc.workflows.data.training_set import check_whole
from wsinuc.workflows.join.run import gains_of
from wsinuc.workflows.train.finetune import segmentation_loss
from wsinuc.workflows.train.network_config import NetworkTrainConfig
from wsinuc.workflows.train.network_loss import LOSSES, make_targets
from wsinuc.workflows.train.pixel_table import SamplingConfig, choose_pixels, class_targets, view_of
from wsinuc.workflows.train.threshold import fit_threshold

SIDE = 64
IGNORE = np.zeros((SIDE, SIDE), bool)
IGNORE[:, 40:] = True
STRONG = Augmentation(zoom=1.5, stain=0.2, crowd=1.0, compact=1.0, artefacts=1.0)


def image(ignored_labels: int = 0) -> LabelledImage:
    """Nuclei on the left; on the right, which is ignored, blue pixels with any label."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 140, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[IGNORE] = (0, 0, 255)
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[10:18, 10:18] = 1
    labels[30:40, 20:28] = 2
    labels[50:60, 34:44] = 3
    labels[5:20, 44:60] = ignored_labels
    return LabelledImage(name="a", image=pixels, labels=labels, attributes={"name": "a"}, mpp=0.5, ignore=IGNORE)


@pytest.mark.parametrize("index", range(6))
def test_a_crop_ignores_the_same_pixels_of_the_tissue(index: int) -> None:
    plain = Augmentation(zoom=1.5, stain=0.0)
    crop = CropSource(images=[image()], mpp=0.5, size=48, seed=1, augmentation=plain).crop(index)
    blue = crop.image[..., 2] > crop.image[..., 0] + 60
    # Colours are interpolated at the edge, labels are not.
    assert np.mean(crop.ignore == blue) > 0.94
    assert crop.ignore.any()
    assert not crop.ignore.all()
    assert (crop.labels >= 0).all()


@pytest.mark.parametrize("index", range(3))
def test_a_crop_without_ignored_pixels_is_the_same_as_ever(index: int) -> None:
    def crop(ignore: np.ndarray | None) -> Crop:
        sample = replace(image(), ignore=ignore)
        return CropSource(images=[sample], mpp=0.5, size=48, seed=2, augmentation=STRONG).crop(index)

    without = crop(None)
    nothing = crop(np.zeros((SIDE, SIDE), bool))
    assert without.ignore is None
    assert not nothing.ignore.any()
    assert np.array_equal(without.image, nothing.image)
    assert np.array_equal(without.labels, nothing.labels)


@pytest.mark.parametrize(
    ("method", "separation"),
    [("finetune", "distance"), ("finetune", "hv"), ("unet", "distance"), ("unet", "hv"), ("hovernet", "hv")],
)
def test_no_loss_of_a_network_sees_what_is_ignored(method: str, separation: str) -> None:
    config = NetworkTrainConfig.quick(method)
    maps = 2 if separation == "hv" else 1

    def loss(noise: float, wrong: int) -> float:
        sample = image(wrong)
        crops = [Crop(sample.image, sample.labels, (sample.labels > 0).astype(np.int32), 0, IGNORE)]
        wanted = make_targets(crops, separation, 0, mpp=0.5, contact_weight=2.0)
        torch.manual_seed(0)
        logits, shapes, nuclei = (torch.randn(1, channels, SIDE, SIDE) for channels in (2, maps, 2))
        for part in (logits, shapes, nuclei):
            part[..., torch.from_numpy(IGNORE)] += noise * torch.randn(int(IGNORE.sum()))
        output = DenseOutput(logits, shapes, nuclei)
        return float(LOSSES[method](output, wanted, config))

    assert loss(0.0, 0) == pytest.approx(loss(5.0, 0), rel=1e-6)
    assert loss(0.0, 0) == pytest.approx(loss(5.0, 7), rel=1e-6)


def test_nor_does_the_loss_of_the_tuning() -> None:
    def loss(noise: float, wrong: int) -> float:
        labels = image(wrong).labels
        torch.manual_seed(0)
        raw = torch.randn(1, 3, SIDE, SIDE)
        raw[..., torch.from_numpy(IGNORE)] += noise * torch.randn(int(IGNORE.sum()))
        nuclei = torch.from_numpy(labels > 0)[None]
        importance = torch.from_numpy(~IGNORE)[None].float()
        return float(segmentation_loss(raw, nuclei, raw.new_zeros(1, 1, SIDE, SIDE), 2.0, importance))

    assert loss(0.0, 0) == pytest.approx(loss(5.0, 7), rel=1e-6)


def test_no_row_of_a_pixel_classifier_is_an_ignored_pixel() -> None:
    config = SamplingConfig(visits=1, pixels=None, background_share=1.0, zoom=1.0, stain=0.0, turn=False)
    _, signed = view_of(image(7), 0.5, np.random.default_rng(0), config)
    assert np.array_equal(signed < 0, IGNORE)
    assert set(np.unique(-1 - signed[IGNORE])) == {0, 3, 7}
    wanted = class_targets(np.maximum(signed, 0), None)
    points = choose_pixels(wanted, np.random.default_rng(0), config, IGNORE)
    assert len(points) == (~IGNORE).sum()
    assert not IGNORE[points[:, 0], points[:, 1]].any()


def test_the_threshold_is_that_of_the_annotated_part() -> None:
    pixels = plane((300, 300))
    labels = (pixels[..., 0] < 128).astype(np.int32)
    ignore = np.zeros(labels.shape, bool)
    ignore[:150] = True
    wrong = np.where(ignore, 1 - labels, labels)
    whole = LabelledImage(name="a", image=pixels, labels=labels, attributes={}, mpp=MPP)
    expected = fit_threshold(OracleSegmenter(), [replace(whole, ignore=ignore)])
    assert fit_threshold(OracleSegmenter(), [replace(whole, labels=wrong, ignore=ignore)]) == expected


def test_fragments_that_reach_into_ignored_pixels_teach_no_join() -> None:
    pieces = np.zeros((20, 30), np.int32)
    pieces[4:10, 4:8] = 1
    pieces[4:10, 8:12] = 2
    pieces[4:10, 16:20] = 3
    pieces[4:10, 20:24] = 4
    heights = np.where(pieces > 0, 200, 0).astype(np.uint8)
    tree = join_tree(pieces, heights, heights, 1000.0)
    ignore = np.zeros(pieces.shape, bool)
    ignore[:, 22:] = True
    _, every = gains_of(tree, pieces, pieces)
    _, some = gains_of(tree, pieces, pieces, ignore)
    assert (every.sum(), some.sum()) == (2, 1)


def test_parts_and_other_resolutions_of_an_image_ignore_the_same() -> None:
    assert np.array_equal(cut(image(), Box(0, 30, 20, 60)).ignore, IGNORE[:20, 30:60])


def test_generators_refuse_images_with_ignored_pixels() -> None:
    check_whole([replace(image(), ignore=None)])
    with pytest.raises(DataError, match="a has pixels that nobody annotated, and a generator learns to draw whole"):
        check_whole([image()])
