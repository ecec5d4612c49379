"""What the slide's copy in ``labels.ome.zarr`` costs: processor time and bytes of each ``--image``.

    python tests/benchmarks/slide_copy.py [SLIDE] [--mpp 0.5]

All of the slide counts as worked on, and is decoded in this process, so that its time is in the figure.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from wsinuc.config import IMAGES
from wsinuc.exports.ome_zarr.copy_plan import SlideCopy, plan_copy
from wsinuc.exports.ome_zarr.slide_copy import write_copy
from wsinuc.slides import open_slide

REPEATS = 5
EXAMPLE = Path(__file__).parents[2] / "examples" / "data" / "CMU-1-Small-Region.svs"


def cost(copy: SlideCopy) -> tuple[float, int]:
    """Median processor time in s, and bytes."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        # The first one compiles.
        for repeat in range(REPEATS + 1):
            container = Path(folder) / f"{repeat}.zarr"
            begin = time.process_time()
            write_copy(copy, container)
            seconds.append(time.process_time() - begin)
        size = sum(path.stat().st_size for path in container.rglob("*") if path.is_file())
    return statistics.median(seconds[1:]), size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", nargs="?", default=str(EXAMPLE))
    parser.add_argument("--mpp", type=float, default=0.5, help="um per pixel of the labels")
    arguments = parser.parse_args()
    with open_slide(arguments.slide) as slide:
        view = slide.at(arguments.mpp)
        mm2 = view.shape[0] * view.shape[1] * (view.mpp / 1000) ** 2
        for image in IMAGES:
            copy = plan_copy(view, image)
            seconds, size = cost(copy)
            pixel = f"{copy.scale[0]:.3g} um"
            print(f"{image:10} {pixel:8} {seconds:6.2f} s {size / 1e6:7.2f} MB of {mm2:.3g} mm2")


if __name__ == "__main__":
    main()
