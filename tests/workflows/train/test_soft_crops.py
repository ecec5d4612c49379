"""What a student learns from: pairs of crops that show the same tissue, and several teachers averaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.training.knowing_teacher import FIT, GROUND, IMAGES, NUCLEUS, TINY, KnowingTeacher, smooth, teacher
from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.segmenters import load_segmenter
from wsinuc.separation.soft_targets import SoftTarget
from wsinuc.workflows.distill.patches import make_patches
from wsinuc.workflows.distill.run import distill
from wsinuc.workflows.train.soft_crops import COLORS, SoftCrop, SoftCropSource, inconsistency, moved


def test_crops_are_disturbed_but_their_targets_are_not(tmp_path: Path) -> None:
    made = make_patches([teacher()], IMAGES, tmp_path / "p", TINY)
    plain = SoftCropSource(
        read=made.patch,
        numbers=made.training,
        classes=1,
        separation="distance",
        mpp=0.5,
        step=1.0,
        size=32,
        seed=0,
        augmentation=Augmentation(stain=0.0),
    )
    other = replace(plain, augmentation=Augmentation(stain=0.5, noise=8.0, jpeg=1.0))
    for one, two in [each for k in range(6) for each in zip(plain.pair(k), other.pair(k), strict=True)]:
        assert np.array_equal(one.target.probabilities, two.target.probabilities)
        assert not np.array_equal(one.image, two.image)
        nucleus = (GROUND - one.image[..., 0].astype(float)) / (GROUND - NUCLEUS)
        assert np.abs(one.target.probabilities[1] - nucleus.clip(0, 1)).max() < 0.03, "turned like its pixels"


@pytest.mark.parametrize("step", [1.0, 1.6])
def test_the_crops_of_a_pair_show_the_same_tissue_a_little_apart(step: float) -> None:
    """Of slowly changing tissue each is the other, moved; so is what the teacher says of it."""
    kept = smooth(4, 96)
    patch = np.concatenate([np.moveaxis(kept, 2, 0), KnowingTeacher()._scores(kept[..., 0])])
    source = SoftCropSource(
        read=lambda number: patch,
        numbers=(0,),
        classes=1,
        separation="distance",
        mpp=0.5,
        step=step,
        size=40,
        seed=0,
        augmentation=Augmentation(stain=0.0),
    )
    distances = []
    for k in range(20):
        one, other = source.pair(k)
        down, right = (b - a for a, b in zip(one.corner, other.corner, strict=True))
        distances += [down, right]
        seen, wanted = (torch.from_numpy(crop.image.astype(np.float32)).permute(2, 0, 1) for crop in (one, other))
        there = moved(seen, down, right)
        assert (there - wanted[:, : there.shape[1], : there.shape[2]]).abs().max() < 3
        says, should = (torch.from_numpy(crop.target.probabilities) for crop in (one, other))
        there = moved(says, down, right)
        assert (there - should[:, : there.shape[1], : there.shape[2]]).abs().max() < 0.03
    assert min(distances) >= 0
    assert max(distances) > 7
    assert (step == 1) == all(distance == round(distance) for distance in distances)
    whole = source.whole(0)
    assert whole.image.shape[:2] == whole.target.probabilities.shape[1:] == (int(96 / step),) * 2


def test_an_answer_that_moves_with_the_tissue_is_consistent() -> None:
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij")

    def answer(dy: float, dx: float) -> torch.Tensor:
        return torch.sin((y + dy) / 9)[None] * torch.cos((x + dx) / 7)[None]

    crop = SoftCrop(np.zeros((60, 60, 3), np.uint8), SoftTarget(np.zeros((2, 60, 60)), np.zeros((1, 60, 60))))
    for dy, dx in ((3.0, 0.0), (0.0, 7.5), (2.25, 4.75)):
        pair = [crop, replace(crop, corner=(dy, dx))]
        right = torch.stack([answer(0, 0), answer(dy, dx)])
        still = torch.stack([answer(0, 0), answer(0, 0)])
        good, bad = (inconsistency(DenseOutput(torch.zeros(2, 2, 60, 60), maps), pair) for maps in (right, still))
        assert good < 1e-5 < 1e-3 < bad


def test_several_teachers_teach_what_they_say_on_average(tmp_path: Path) -> None:
    class Doubter(KnowingTeacher):
        def _scores(self, red: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return super()._scores(red) // 3

    knowing, doubter = teacher(), teacher(Doubter(mpp=0.4), sha256="b" * 64)
    alone, joint = (
        make_patches(who, IMAGES, tmp_path / name, TINY)
        for who, name in (([knowing], "alone"), ([knowing, teacher(Doubter(), sha256="b" * 64)], "joint"))
    )
    for number in alone.training:
        one, both = (patches.patch(number).astype(float) for patches in (alone, joint))
        assert np.array_equal(one[:COLORS], both[:COLORS])
        assert np.abs(one[COLORS:] * 2 / 3 - both[COLORS:]).max() <= 1
    finest = make_patches([knowing, doubter], IMAGES, tmp_path / "finest", TINY)
    assert finest.patch(1).shape == (COLORS + 4, 80, 80), "kept as fine as the finest teacher sees"
    out = tmp_path / "s.safetensors"
    distill([knowing, doubter], IMAGES, out, replace(TINY, fit=replace(FIT, steps=1)), device="cpu")
    assert [each["sha256"][0] for each in load_checkpoint(out, "segmenter").provenance["teachers"]] == ["a", "b"]
    assert load_segmenter(str(out), device="cpu").mpp == 0.5
    with pytest.raises(ConfigError, match="agree in their separation: knowing has distance, knowing has hv"):
        make_patches([knowing, teacher(KnowingTeacher("hv"))], IMAGES, tmp_path / "no", TINY)
