"""Odd statements of a file, or of its user, about its resolution."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import tifffile

from helpers.files.tiff_dialects import picture, write
from helpers.odd.doors import Gives, Refused, with_options
from helpers.odd.inputs import Row
from wsinuc.errors import MppError


def rows() -> Iterator[Row]:
    """All of them."""

    def tiff(folder: Path, per_cm: tuple[float, float] | None) -> Path:
        write(folder / "a.tif", picture()[:64, :64], tile=(64, 64), resolution=per_cm)
        return folder / "a.tif"

    kinds: dict[str, tuple[tuple[float, float] | None, Gives | Refused]] = {
        "half a micrometre": ((20_000, 20_000), Gives(0.5)),
        "none": (None, Refused(MppError, "does not say its resolution: pass --mpp")),
        "of a printer": ((118, 118), Refused(MppError, "probably a print resolution")),
        "of an electron microscope": ((1e7, 1e7), Refused(MppError, "outside")),
        "other along x than along y": ((20_000, 40_000), Refused(MppError, "pixels should be square")),
    }
    # OpenSlide says the first image's, which is half as large as the slide.
    unknown = Refused(MppError, "does not say its resolution")
    yield Row(name="resolution: of a smaller image alone", door="open_slide, mpp", make=_small_first, expected=unknown)
    for name, (per_cm, expected) in kinds.items():
        make = partial(tiff, per_cm=per_cm)
        yield Row(name=f"resolution: {name}", door="open_slide, mpp", make=make, expected=expected)
    for mpp in (0.0, -1.0, float("nan"), float("inf"), 1e9):
        yield Row(
            name=f"resolution given by the user: {mpp}",
            door="open_slide, mpp",
            make=partial(with_options, partial(tiff, per_cm=(20_000, 20_000)), {"mpp": mpp}),
            expected=Refused(MppError, "um per pixel"),
        )


def _small_first(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.tif") as tiff:
        known = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
        tiff.write(picture()[:200:2, :300:2], photometric="rgb", tile=(64, 64), metadata=None, **known)
        tiff.write(picture()[:200, :300], photometric="rgb", tile=(64, 64), metadata=None)
    return folder / "a.tif"
