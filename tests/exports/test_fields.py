"""Fields that are shown: the densest, the most doubtful and a typical one, where they really are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wsinuc.exports.pictures.fields import DENSEST, DOUBTFUL, TYPICAL, FieldTally
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, Nuclei, empty

SHAPE = (4000, 4000)
MPP = 0.5
SIDE = 384  # 192 um


def nuclei(places: list[tuple[int, int]], probability: float = 0.9, area: int = 100) -> Nuclei:
    """Nuclei that are nothing but a place, a probability and an area."""
    count = len(places)
    return dataclasses.replace(
        empty(Frame(mpp=MPP, downsample=(1.0, 1.0)), ("a",), ((255, 0, 0),)),
        ids=np.arange(count),
        centroids=np.array(places, float).reshape(-1, 2),
        areas_px=np.full(count, area, np.int32),
        outlines=np.zeros((4 * count, 2), np.int32),
        offsets=np.arange(0, 4 * count + 1, 4),
        classes=np.zeros(count, np.uint8),
        class_probabilities=np.ones((count, 1), np.float32),
        probabilities=np.full(count, probability, np.float32),
        disagreements=np.zeros(count, np.float32),
        measurements={name: np.ones(count, np.float32) for name in empty(Frame(MPP, (1.0, 1.0))).measurements},
    )


def lattice(y: int, x: int, count: int) -> list[tuple[int, int]]:
    """``count`` squared places around (y, x), within a field."""
    steps = np.linspace(-150, 150, count).astype(int)
    return [(y + int(dy), x + int(dx)) for dy in steps for dx in steps]


PARTS = (
    nuclei(lattice(600, 600, 15)),
    nuclei(lattice(2000, 600, 10)),
    nuclei(lattice(2000, 2000, 10)),
    nuclei(lattice(3200, 2000, 9), probability=0.5),
    nuclei(lattice(3200, 3200, 1), probability=0.1),
)


def chosen(parts: tuple[Nuclei, ...]) -> dict[str, Box]:
    tally = FieldTally(SHAPE, MPP)
    for part in parts:
        tally.add(part)
    return {field.name: field.box for field in tally.choose()}


def test_each_field_is_what_it_is_called() -> None:
    fields = chosen(PARTS)
    assert fields[DENSEST].contains(600, 600)
    # One nucleus of low probability makes no doubtful field; eighty of them do.
    assert fields[DOUBTFUL].contains(3200, 2000)
    assert any(fields[TYPICAL].contains(2000, x) for x in (600, 2000))


def test_fields_do_not_overlap_and_are_of_one_size() -> None:
    boxes = list(chosen(PARTS).values())
    assert len(boxes) == 3
    assert all(box.shape == (SIDE, SIDE) for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_order_of_the_parts_changes_nothing() -> None:
    assert chosen(PARTS) == chosen(PARTS[::-1])


@pytest.mark.parametrize("shape", [(1, 1), (50, 2000), (384, 384), (385, 383)])
def test_small_slides_have_as_many_fields_as_fit(shape: tuple[int, int]) -> None:
    tally = FieldTally(shape, MPP)
    assert [field.name for field in tally.choose()] == [DENSEST]
    tally.add(nuclei([(shape[0] - 1, shape[1] - 1)]))
    boxes = [field.box for field in tally.choose()]
    extent = Box.of_shape(shape)
    assert all(box.clip(extent) == box for box in boxes)
    assert boxes[0].contains(shape[0] - 1, shape[1] - 1)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_a_field_has_one_size_in_um_whatever_the_model_sees(mpp: float) -> None:
    box = FieldTally(SHAPE, mpp).densest()
    assert box.shape[0] * mpp == pytest.approx(192, abs=3)
