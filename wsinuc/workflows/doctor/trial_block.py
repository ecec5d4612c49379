"""One small block through the real path: does everything work together, and how fast is it here?

Without a slide of the user's, a small slide is made (purple ellipses on pink), written as a TIFF
and segmented to a complete result. Of a user's slide one block in the middle of its tissue is read,
segmented and measured.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsinuc import segmenters
from wsinuc.config import SegmentConfig
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.workflows.doctor.findings import Finding, fail, ok
from wsinuc.workflows.segment.plan import Prepared, prepare
from wsinuc.workflows.segment.run import segment_slide

SIDE = 256
"""View pixels."""
_MPP = 0.5
_ALL = ("nuclei", "labels.ome.zarr", "nuclei.geojson", "preview.png", "report.html")


def try_synthetic(device: str, out: Path = Path()) -> Finding:
    """A made slide to a complete result in a temporary folder; below ``out`` where there is no room for such."""
    config = SegmentConfig(device=device, block=SIDE, tissue="none", workers=1)
    segmenter = segmenters.load_segmenter(config.model, device=device)
    with _scratch(out) as folder:
        slide = write_synthetic(Path(folder) / "made.tiff")
        begin = time.perf_counter()
        summary = segment_slide(slide, Path(folder) / "made.wsinuc", config, segmenter=segmenter)
        seconds = time.perf_counter() - begin
        missing = [name for name in _ALL if not (Path(folder) / "made.wsinuc" / name).exists()]
    if missing:
        return fail(
            "trial", f"a made slide gave no {', '.join(missing)}", "please report this, with the output of --json"
        )
    if not summary.nuclei:
        return fail(
            "trial", "a made slide gave no nuclei", "the model or the device computes wrongly: try --device cpu"
        )
    text = f"a made slide of {SIDE} x {SIDE} pixels: {summary.nuclei} nuclei in {seconds:.1f} s"
    # Minutes on a busy machine, and no measure of what a slide takes.
    return ok("trial", f"{text}; the first time kernels are compiled in it")


def try_slide(path: Path, device: str, out: Path = Path()) -> Finding:
    """A block of a user's slide."""
    config = SegmentConfig(device=device, block=SIDE)
    with prepare(path, out / "none.wsinuc", config) as (prepared, plan):
        if not plan.blocks:
            text = f"{path.name} opens with {plan.reader}, but no tissue was found"
            return Finding(name="trial", level="warn", text=text, advice="if there is some, use --tissue none")
        begin = time.perf_counter()
        nuclei, unreadable = _one_block(prepared, plan.blocks[len(plan.blocks) // 2], config)
        seconds = time.perf_counter() - begin
    if unreadable:
        return fail("trial", f"{path.name}: a block of {SIDE} x {SIDE} pixels cannot be decoded", "copy the file again")
    text = (
        f"{path.name}, read with {plan.reader}: {nuclei} nuclei in a block of {SIDE} x {SIDE} pixels, {seconds:.1f} s"
    )
    return ok("trial", text)


def _scratch(out: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="wsinuc-doctor-")
    except FileNotFoundError:  # a container may have no temporary folder that this user can write
        return tempfile.TemporaryDirectory(prefix=".wsinuc-doctor-", dir=out)


def write_synthetic(path: Path) -> Path:
    """Write a TIFF of ``SIDE`` square pixels that looks like stained tissue from afar; always the same."""
    resolution = (1e4 / _MPP, 1e4 / _MPP)
    tifffile.imwrite(
        path, synthetic(), photometric="rgb", tile=(128, 128), resolution=resolution, resolutionunit="CENTIMETER"
    )
    return path


def synthetic() -> NDArray[np.uint8]:
    """Pixels (SIDE, SIDE, 3): pink with purple ellipses, a little noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    depth = np.zeros((SIDE, SIDE))
    for row, column in np.ndindex(7, 7):
        cy, cx = (np.array([row, column]) + 0.5) * SIDE / 7 + rng.uniform(-4, 4, 2)
        ry, rx = rng.uniform(6, 10, 2)
        depth = np.maximum(depth, 1 - np.hypot((y - cy) / ry, (x - cx) / rx))
    inside = np.clip(4 * depth, 0, 1)[..., None]
    image: NDArray[np.float64] = (1 - inside) * np.array([228, 178, 205]) + inside * np.array([98, 62, 138])
    pixels: NDArray[np.uint8] = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return pixels


def _one_block(prepared: Prepared, index: int, config: SegmentConfig) -> tuple[int, int]:
    """Nuclei, and regions that cannot be decoded."""
    segmenter = calibrated(prepared.view, prepared.segmenter, prepared.selection.tissue)
    result = process_block(
        prepared.view,
        prepared.grid[index],
        segmenter,
        batch_size=config.batch_size or segmenter.batch_size,
        tissue=prepared.selection,
        gate=threading.Lock(),
    )
    return len(result.nuclei), len(result.unreadable)
