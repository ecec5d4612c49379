"""`examples/check_leakage.py` finds what was put there, and the committed split of NuInsSeg is what its rule says."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import check_leakage
import nuinsseg_split

from wsinuc.datasets import open_dataset
from wsinuc.datasets.sampling.split import Split
from wsinuc.orientation import dihedral

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_nuinsseg = pytest.mark.skipif(not (SHARED / "nuinsseg").is_dir(), reason="the shared data sets are not here")


def tissue(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width))
    return np.clip(gaussian_filter(noise, 2) * 300 + 128, 0, 255).astype(np.float32)


def picture(name: str, grey: np.ndarray) -> check_leakage.Picture:
    return check_leakage.Picture("set", name, grey, np.zeros((8, 64), bool))


@pytest.mark.parametrize("corner", [(0, 0), (10, 5), (36, 26)])
def test_a_place_is_found_in_the_picture_that_holds_it(corner):
    pictures = [picture(f"p{i}", tissue(60 + 7 * i, 50 + 300 * i, i)) for i in range(5)]
    sheet = check_leakage.Sheet(pictures)
    y, x = corner
    side = check_leakage.SIDE
    for one in pictures:
        value, name = sheet.highest(one.grey[y : y + side, x : x + side] * 0.5 + 30)
        assert (round(value, 4), name) == (1.0, one.name)
    assert sheet.highest(tissue(side, side, 99))[0] < check_leakage.ALIKE


def test_a_place_across_two_pictures_is_none():
    pictures = [picture("left", tissue(60, 50, 1)), picture("right", tissue(60, 50, 2))]
    side = check_leakage.SIDE
    across = np.concatenate([pictures[0].grey, pictures[1].grey], axis=1)[10 : 10 + side, 38 : 38 + side]
    assert check_leakage.Sheet(pictures).highest(across)[0] < 0.95


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_and_recompressed_picture_has_the_same_hash(tmp_path, turn):
    pixels = tissue(96, 96, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(np.ascontiguousarray(dihedral(pixels, turn))).resize((80, 80)).save(tmp_path / "b.jpg", quality=60)
    Image.fromarray(tissue(96, 96, 4).astype(np.uint8)).save(tmp_path / "c.png")
    first, again, other = (
        check_leakage.read_picture("s", tmp_path / name, 0.25) for name in ("a.png", "b.jpg", "c.png")
    )
    assert check_leakage.distance(first, again) <= check_leakage.NEAR
    assert check_leakage.distance(first, other) > check_leakage.NEAR


def test_the_rule_takes_every_sixth_and_whole_organs():
    organs = {f"human_liver_{i:02}": "human liver" for i in range(1, 15)} | {"mouse_thymus_1": "mouse thymus"}
    parts = nuinsseg_split.divided(dict(reversed(organs.items())))
    assert parts["held_images"] == ["human_liver_04", "human_liver_10"]
    assert parts["held_organs"] == ["mouse_thymus_1"]
    assert len(parts["train"]) == 12


def test_the_committed_split_holds_organs_of_both_species_and_shares_nothing():
    split = Split.load(nuinsseg_split.SPLIT)
    names = {part: [name for name, box in places if box is None] for part, places in split.parts.items()}
    assert {part: len(found) for part, found in names.items()} == {"train": 466, "held_images": 95, "held_organs": 104}
    assert len({name for found in names.values() for name in found}) == 466 + 95 + 104
    species = {organ.split()[0] for organ in nuinsseg_split.HELD_ORGANS}
    assert species == {"human", "mouse"}
    assert len(nuinsseg_split.HELD_ORGANS) >= 5


@needs_nuinsseg
def test_the_committed_split_is_the_rule_applied_to_the_data():
    dataset = open_dataset(SHARED / "nuinsseg", mpp=0.2)
    organs = {row["name"]: row["organ"] for row in dataset.rows}
    split = Split.load(nuinsseg_split.SPLIT)
    assert {part: [name for name, _ in places] for part, places in split.parts.items()} == nuinsseg_split.divided(
        organs
    )
    held = {organs[name] for name, _ in split.parts["held_organs"]}
    assert held == set(nuinsseg_split.HELD_ORGANS)
    assert not held & {organs[name] for name, _ in split.parts["train"]}
    counts = Counter(organs[name] for name, _ in split.parts["held_images"])
    for organ, count in Counter(organs.values()).items():
        assert organ in held or counts[organ] == (count + 2) // 6
    assert len(split.of(dataset, "held_organs")) == 104
