"""What is no tissue: false nuclei on glass and pen, and annotated nuclei that the search for tissue leaves out.

    PYTHONPATH=. python tests/benchmarks/left_out.py --data SHARED/data [--mpp 0.5 1.0] [--model
    default] [--only false|lost]

*False nuclei*: the images of the sets ``histolab`` and ``misc`` are segmented with ``--tissue
auto`` and with ``none``, and nuclei with their centroid in the boxes of ``EMPTY``, where only glass
or pen is in view, are counted. Nobody recorded the resolution of most of these images, so each is
taken as having each of ``--mpp``, but pictures of whole slides (8 to 60 um per px in truth) as the
coarsest that the models take well, 1.0. *Lost nuclei*: for each annotated set, how many centroids
of label images lie in cells that are looked at.

Prints JSON; exits with 1 when there are more than 2 false nuclei per mm2, or less than 99.5 % of a
set's nuclei are looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsinuc.config import SegmentConfig
from wsinuc.grid import BlockGrid
from wsinuc.nuclei import Nuclei, concatenate
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.pipeline.search import needs_work
from wsinuc.pipeline.selection import select
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides import open_slide
from wsinuc.slides.view import SlideView
from wsinuc.tissue import find_tissue

MOST_FALSE_PER_MM2 = 2.0
LEAST_LOOKED_AT = 0.995

WHOLE = (0, 0, 10_000, 10_000)
EMPTY: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "histolab/almost-white-1": (WHOLE,),
    "histolab/almost-white-2": ((0, 130, 512, 512),),
    "histolab/diagnostic-slide-thumb-rgb": ((300, 0, 468, 25), (250, 22, 390, 50), (440, 60, 468, 200)),
    "histolab/high-nuclei-score-level2": ((0, 190, 512, 512),),
    "histolab/medium-nuclei-score-level2": ((400, 370, 512, 512),),
    "histolab/no-tissue": (WHOLE,),
    "histolab/no-tissue-green-pen": (WHOLE,),
    "histolab/no-tissue-line": (WHOLE,),
    "histolab/no-tissue-red-pen": (WHOLE,),
    "histolab/no-tissue2": ((0, 0, 512, 400),),
    "histolab/tissue-level2-1784-6289-5880-10386": ((0, 300, 50, 512),),
    "histolab/tissue-level2-3000-7666-7096-11763": ((0, 400, 120, 512),),
    "histolab/tissue-level2-4640-4649-8736-8746": ((420, 110, 512, 230),),
    "histolab/wsi-blue-pen": ((140, 0, 174, 50), (140, 55, 174, 80), (150, 100, 166, 133)),
    "misc/histoqc_pen_black": (WHOLE,),
    "misc/histoqc_pen_green": ((140, 130, 200, 330), (250, 40, 480, 85), (840, 250, 1000, 853)),
    "misc/histoqc_pen_red": ((60, 300, 120, 640), (755, 400, 918, 620), (300, 0, 918, 80), (560, 920, 918, 1000)),
    "nct_crc/BACK-AAQSHYMA": (WHOLE,),
}
"""(x0, y0, x1, y1) in pixels: only glass or pen is in view there. The other images of the sets show
tissue throughout, or pen over tissue with real nuclei under it."""

PICTURES_OF_SLIDES = ("diagnostic-slide-thumb-rgb", "wsi-blue-pen", "histoqc_pen")
COARSEST = 1.0

ANNOTATED = {"tnbc": 0.25, "monuseg2018_train": 0.25, "nuinsseg": 0.2, "dsb2018_histology": 0.5}
"""um per px of the annotated sets, assumed where nobody recorded it."""


def main() -> int:
    args = parse()
    report: dict[str, Any] = {}
    good = True
    if args.only != "lost":
        segmenter = load_segmenter(args.model, device="cpu")
        report["false"] = [false_nuclei(args.data, mpp, segmenter) for mpp in args.mpp]
        good &= all(row["auto"]["per_mm2"] <= MOST_FALSE_PER_MM2 for row in report["false"])
    if args.only != "false":
        report["lost"] = [looked_at(args.data / name, mpp) for name, mpp in ANNOTATED.items()]
        good &= all(row["looked_at"] >= LEAST_LOOKED_AT for row in report["lost"])
    print(json.dumps(report, indent=2))
    return 0 if good else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mpp", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--only", choices=("false", "lost"))
    return parser.parse_args()


def false_nuclei(data: Path, mpp: float, segmenter: Segmenter) -> dict[str, Any]:
    """Nuclei in all boxes, per image and per mm2, where tissue was searched for and where it was not."""
    rows: dict[str, dict[str, Any]] = {}
    for name, boxes in EMPTY.items():
        folder, stem = name.split("/")
        taken = COARSEST if stem.startswith(PICTURES_OF_SLIDES) else mpp
        with open_slide(data / folder / "images" / f"{stem}.jpg", mpp=taken) as slide:
            empty = _painted(boxes, slide.level_shapes[0])
            row: dict[str, Any] = {"mm2": float(empty.sum()) * taken**2 / 1e6}
            for tissue in ("none", "auto"):
                nuclei = segment(slide.at(segmenter.mpp), segmenter, tissue)
                y, x = np.minimum(nuclei.level0_centroids().astype(int), np.array(empty.shape) - 1).T
                row[tissue] = int(empty[y, x].sum())
        rows[name] = row
    mm2 = sum(row["mm2"] for row in rows.values())
    totals = {tissue: sum(row[tissue] for row in rows.values()) for tissue in ("none", "auto")}
    shares = {tissue: {"nuclei": count, "per_mm2": count / mm2} for tissue, count in totals.items()}
    return {"mpp": mpp, "mm2": mm2, **shares, "images": rows}


def segment(view: SlideView, segmenter: Segmenter, tissue: str) -> Nuclei:
    """All nuclei that a run reports."""
    selection = select(view, SegmentConfig(tissue=tissue), reach=segmenter.min_halo)
    fitted = calibrated(view, segmenter, selection.tissue)
    grid = BlockGrid(view.shape, 2048, segmenter.min_halo)
    found = [process_block(view, grid[0], fitted, batch_size=1, tissue=Nothing(), gate=threading.Lock()).nuclei]
    for block in grid:
        if needs_work(block, fitted, selection):
            result = process_block(view, block, fitted, batch_size=1, tissue=selection, gate=threading.Lock())
            found.append(selection.wanted_of(result.nuclei))
    return concatenate(found)


class Nothing:
    """A selection without tissue, for an empty table with the segmenter's classes."""

    def touches(self, box: object) -> bool:
        return False

    def without_padding(self, pixels: NDArray[np.uint8], box: object) -> NDArray[np.uint8]:
        return pixels


def looked_at(folder: Path, mpp: float) -> dict[str, Any]:
    """How many of a set's annotated nuclei have their centroid where it is looked."""
    total, held = 0, 0
    worst: dict[str, int] = {}
    for path in sorted((folder / "images").iterdir()):
        labels = np.asarray(Image.open(folder / "labels" / f"{path.stem}.png")).astype(np.int64)
        ids = np.unique(labels[labels > 0])
        centroids = np.array(ndimage.center_of_mass(labels > 0, labels, ids)).reshape(-1, 2) + 0.5
        with open_slide(path, mpp=mpp) as slide:
            view = slide.at(0.5)
            kept = find_tissue(view).holds(centroids / view.downsample)
        total += len(ids)
        held += int(kept.sum())
        if not kept.all():
            worst[path.stem] = int((~kept).sum())
    return {"set": folder.name, "mpp": mpp, "nuclei": total, "looked_at": held / total, "lost_in": worst}


def _painted(boxes: tuple[tuple[int, int, int, int], ...], shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


if __name__ == "__main__":
    sys.exit(main())
