"""What does everything around the network cost? One slide end to end, then the same forward passes alone.

    PYTHONPATH=.:tests python tests/benchmarks/overhead.py SLIDE [--model default] [--device cpu]

Prints JSON with the ratio of both wall times; exits with 1 when it exceeds 1.1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.config import SegmentConfig
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.segment.run import segment_slide

LIMIT = 1.1


class Recorder:
    """Keeps the batches that a segmenter is given on disk, so that they can be run again; otherwise that segmenter."""

    def __init__(self, segmenter: Any, folder: Path) -> None:
        self.wrapped, self.folder, self.count = segmenter, folder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        np.save(self.folder / f"{self.count}.npy", pixels)
        self.count += 1
        return self.wrapped.predict(pixels)

    def calibrate(self, samples: np.ndarray) -> Recorder:
        self.wrapped = self.wrapped.calibrate(samples)
        return self


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--tissue", default="auto")
    parser.add_argument("--mpp", type=float)
    args = parser.parse_args()
    config = SegmentConfig(
        tissue=args.tissue, block=args.block, workers=args.workers, batch_size=args.batch_size, mpp=args.mpp
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorder = Recorder(load_segmenter(args.model, device=args.device), folder)
        recorder.wrapped.predict(np.full((args.batch_size, recorder.tile, recorder.tile, 3), 255, np.uint8))
        begin = time.perf_counter()
        summary = segment_slide(args.slide, folder / "out", config, segmenter=recorder)
        whole = time.perf_counter() - begin
        alone = replay(recorder)
    facts = {"end_to_end_s": whole, "network_alone_s": alone, "ratio": whole / alone, "limit": LIMIT}
    print(
        json.dumps({**facts, "batches": recorder.count, "nuclei": summary.nuclei, "seconds": summary.seconds}, indent=1)
    )
    return int(whole > LIMIT * alone)


def replay(recorder: Recorder) -> float:
    """Wall time of the recorded forward passes, without reading them."""
    spent = 0.0
    for index in range(recorder.count):
        pixels = np.load(recorder.folder / f"{index}.npy")
        begin = time.perf_counter()
        recorder.wrapped.predict(pixels)
        spent += time.perf_counter() - begin
    return spent


if __name__ == "__main__":
    sys.exit(main())
