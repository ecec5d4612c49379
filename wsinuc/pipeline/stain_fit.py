"""The stain vectors of a run: fixed ones by their name, or those of the slide, found once and kept.

They are fitted to the same samples of tissue that a segmenter is fitted to, so every block, worker
and resumed run measures with the same ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.nuclei.stains import FIXED, QUPATH, StainVectors, fit_stains, rounded_vector
from wsinuc.pipeline.calibrate import Tissue, tissue_samples
from wsinuc.slides.view import SlideView
from wsinuc.store.calibration import read_calibration, write_calibration


def stain_vectors(name: str, view: SlideView, tissue: Tissue, path: Path) -> StainVectors:
    """The vectors called ``name``; fitted ones come from the file ``path``, which is written where it is missing.

    A slide with too little stained tissue to fit them is measured with QuPath's, under that name.
    """
    if name in FIXED:
        return FIXED[name]
    kept = _kept(path)
    if kept is None:
        samples = tissue_samples(view, tissue)
        fitted = None if samples is None else fit_stains(samples)
        kept = {}
        if fitted is not None:
            kept = {
                "haematoxylin": np.array(fitted.haematoxylin, np.float32),
                "eosin": np.array(fitted.eosin, np.float32),
            }
        write_calibration(kept, path)
    if not kept:
        return QUPATH
    # As they were written: whoever fits them measures with the same ones as whoever reads them.
    return StainVectors("fitted", rounded_vector(kept["haematoxylin"]), rounded_vector(kept["eosin"]))


def _kept(path: Path) -> dict[str, NDArray[np.float32]] | None:
    """What was written, which may be nothing; None where the file is missing, or holds something else."""
    content = read_calibration(path)
    if content and {name: vector.shape for name, vector in content.items()} != {"haematoxylin": (3,), "eosin": (3,)}:
        return None
    return content
