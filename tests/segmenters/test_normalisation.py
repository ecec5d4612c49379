"""Colours of a slide brought towards those of the training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.header import from_header
from wsinuc.segmenters.normalisation import ColourNormalisation, recoloured

TRAINED = ColourNormalisation(mean=(0.24, 0.34, 0.23), spread=(0.13, 0.16, 0.10), share=1.0)

SIDE = 330  # px, just enough to tell colours by


def tissue(seed: int, mean: tuple[float, float, float], spread: float = 0.1) -> np.ndarray:
    """Pixels whose optical densities have this mean."""
    density = np.random.default_rng(seed).normal(mean, spread, (SIDE, SIDE, 3)).clip(0.06, 3)
    return np.rint(256 * np.exp(-density) - 1).astype(np.uint8)


def moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    density = -np.log((image.reshape(-1, 3) + 1.0) / 256)
    return density.mean(0), density.std(0)


def test_the_whole_way_ends_at_the_colours_of_the_training() -> None:
    image = tissue(0, (0.5, 0.7, 0.45))
    mean, spread = moments(recoloured(image, TRAINED.table(image)))
    assert mean == pytest.approx(TRAINED.mean, abs=0.01)
    assert spread == pytest.approx(TRAINED.spread, rel=0.05)


def test_half_the_way_lies_between() -> None:
    image = tissue(1, (0.5, 0.7, 0.45))
    half = ColourNormalisation(mean=TRAINED.mean, spread=TRAINED.spread)
    mean, spread = moments(recoloured(image, half.table(image)))
    before = moments(image)
    assert mean == pytest.approx((before[0] + TRAINED.mean) / 2, abs=0.01)
    assert spread == pytest.approx(np.sqrt(before[1] * TRAINED.spread), rel=0.05)


def test_images_of_the_training_stay_as_they_are() -> None:
    image = tissue(2, (0.3, 0.4, 0.3))
    own = ColourNormalisation.towards([image])
    changed = np.abs(recoloured(image, own.table(image)).astype(int) - image)
    assert changed.max() <= 1


def test_no_share_of_the_way_changes_nothing() -> None:
    image = tissue(3, (0.6, 0.2, 0.4))
    still = ColourNormalisation(mean=TRAINED.mean, spread=TRAINED.spread, share=0.0)
    assert np.array_equal(recoloured(image, still.table(image)), image)


@given(st.integers(0, 1000), st.floats(0.15, 0.9), st.floats(0.2, 1.0), st.floats(0.15, 0.8))
def test_a_table_never_swaps_bright_and_dark(seed: int, red: float, green: float, blue: float) -> None:
    table = TRAINED.table(tissue(seed, (red, green, blue)))
    assert table is not None
    assert (np.diff(table, axis=0) >= 0).all()
    assert table.min() >= 0
    assert table.max() <= 255


def test_glass_around_the_tissue_does_not_count() -> None:
    image = tissue(4, (0.5, 0.7, 0.45))
    around = np.concatenate([image, np.full((600, SIDE, 3), 250, np.uint8)])
    assert np.array_equal(TRAINED.table(around), TRAINED.table(image))


def test_where_there_is_no_tissue_colours_stay() -> None:
    glass = np.full((SIDE, SIDE, 3), 245, np.uint8)
    assert TRAINED.table(glass) is None
    assert TRAINED.table(np.full((SIDE, SIDE, 3), 90, np.uint8)) is None  # one colour has no spread to stretch
    assert TRAINED.table(tissue(0, (0.5, 0.7, 0.45))[:200, :200]) is None, "too little tissue to tell"
    assert recoloured(glass, None) is glass


def test_a_nearly_uniform_sample_is_not_blown_up() -> None:
    image = tissue(5, (0.3, 0.4, 0.3), spread=0.005)
    _, spread = moments(recoloured(image, TRAINED.table(image)))
    assert (spread < 0.012).all()


def test_a_pixel_depends_on_its_own_value_alone() -> None:
    image = tissue(6, (0.5, 0.7, 0.45))
    table = TRAINED.table(image)
    assert np.array_equal(recoloured(image, table)[40:60, 30:50], recoloured(image[40:60, 30:50], table))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.1, 0.2)}, "three means"),
        ({"spread": (0.1, 0.0, 0.1)}, "positive spreads"),
        ({"share": 1.5}, "share of the way"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    fields = {"mean": TRAINED.mean, "spread": TRAINED.spread, "share": 0.5} | changes
    with pytest.raises(ConfigError, match=message):
        ColourNormalisation(**fields)  # type: ignore[arg-type]


def test_it_comes_back_from_a_header() -> None:
    data = {"mean": [0.24, 0.34, 0.23], "spread": [0.13, 0.16, 0.10], "share": 1.0}
    assert from_header(ColourNormalisation, data) == TRAINED
