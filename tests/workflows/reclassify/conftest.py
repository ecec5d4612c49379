"""Slides whose nuclei are known, shared by the tests of teaching classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.files.taught import TaughtSlide, make_slide, write_base
from wsinuc import segmenters


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoint of a segmenter that needs no training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segmenters.METHODS, "dark", "helpers.files.taught:FileSegmenter")
        yield write_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="package")
def known(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TaughtSlide, TaughtSlide]:
    """Two slides."""
    folder = tmp_path_factory.mktemp("taught")
    return make_slide(folder, "one", 0, base), make_slide(folder, "two", 1, base, shape=(200, 200))


@pytest.fixture(scope="package")
def one(known: tuple[TaughtSlide, TaughtSlide]) -> TaughtSlide:
    """The larger one."""
    return known[0]
