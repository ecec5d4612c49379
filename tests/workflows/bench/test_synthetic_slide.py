"""Synthetic slides: what is written is what the formula says, for both readers, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsinuc.errors import ConfigError, MppError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.workflows.bench import synthetic_slide
from wsinuc.workflows.bench.synthetic_slide import SyntheticSlideConfig, source_square, write_synthetic_slide

CONFIG = SyntheticSlideConfig(width=2600, height=1900, mpp=0.25)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_slide(tmp_path_factory.mktemp("slides") / "small.svs", CONFIG)


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_both_readers_see_the_pixels_that_were_meant(slide: Path, reader: str) -> None:
    level = synthetic_slide._levels(CONFIG, source_square(CONFIG))[0]
    with open_slide(slide, reader=reader) as opened:
        assert opened.level_shapes[0] == (1900, 2600)
        assert opened.level_shapes[1] == (475, 650)
        assert opened.mpp == pytest.approx(0.25)
        for y0, x0 in ((0, 0), (768, 1024), (1024, 2048)):
            found = opened.read(Box(y0, x0, y0 + 256, x0 + 256)).astype(int)
            meant = level.pixels(y0, x0).astype(int)
            assert np.abs(found - meant).mean() < 6, "JPEG loses little; swapped colours would be far off"
        coarse = opened.read(Box(0, 0, 475, 650), 1).astype(int)
        fine = opened.read(Box(0, 0, 1900, 2600)).reshape(475, 4, 650, 4, 3).mean((1, 3))
        assert np.abs(coarse - fine).mean() < 6


def test_both_readers_agree(slide: Path) -> None:
    box = Box(300, 500, 900, 1500)
    with open_slide(slide, reader="openslide") as one, open_slide(slide, reader="tiffslide") as other:
        assert one.header.vendor == "aperio"
        assert np.abs(one.read(box).astype(int) - other.read(box)).max() <= 2


def test_tissue_and_glass_as_asked(slide: Path) -> None:
    with open_slide(slide) as opened:
        pixels = opened.read(Box(0, 0, 1900, 2600))
    glass = (pixels.min(axis=2) > 230).mean()
    assert 0.3 < glass < 0.6


def test_a_slide_is_a_function_of_its_config(slide: Path, tmp_path: Path) -> None:
    again = write_synthetic_slide(tmp_path / "again.svs", CONFIG)
    assert again.read_bytes() == slide.read_bytes()
    other = SyntheticSlideConfig(width=2600, height=1900, seed=1)
    assert write_synthetic_slide(tmp_path / "other.svs", other).read_bytes() != slide.read_bytes()


def test_recurring_tiles_are_what_the_formula_gives() -> None:
    level = synthetic_slide._levels(CONFIG, source_square(CONFIG))[0]
    named = [(y, x, level.recurring(y, x)) for y in range(0, 1900, 256) for x in range(0, 2600, 256)]
    assert any(name for _, _, name in named)
    for y0, x0, name in named:
        if name:
            kind, y, x = name
            assert np.array_equal(level.pixels(y0, x0), level.stamps[kind, y : y + 256, x : x + 256])


def test_made_of_an_image_that_is_given(tmp_path: Path) -> None:
    red = np.zeros((300, 400, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    config = SyntheticSlideConfig(width=512, height=512, tissue=1.0, image=tmp_path / "red.png", image_mpp=0.5)
    assert source_square(config).shape == (1024, 1024, 3)
    path = write_synthetic_slide(tmp_path / "red.svs", config)
    with open_slide(path) as slide:
        red_green_blue = slide.read(Box(0, 0, 512, 512)).mean((0, 1))
    assert red_green_blue[0] > 120 > 80 > red_green_blue[1:].max()
    with pytest.raises(MppError):
        source_square(SyntheticSlideConfig(width=512, height=512, image=tmp_path / "red.png"))


@pytest.mark.parametrize("wrong", [{"width": 100}, {"height": 10**7}, {"mpp": 9.0}, {"tissue": 0.0}])
def test_what_makes_no_slide_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SyntheticSlideConfig(**{"width": 512, "height": 512, **wrong})  # type: ignore[arg-type]
