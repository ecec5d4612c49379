"""Write into a model what was measured of it: how often its nuclei are right, and the resolutions that it takes.

    python examples/finish_model.py MODEL DATA

DATA holds the folder `tnbc`, of which patients 09, 10 and 11 trained no shipped model. The
probabilities that the model gives to its nuclei there are corrected to how often such nuclei are
right (IoU above one half); run again, it does the same.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from wsinuc.datasets import open_dataset
from wsinuc.metrics.calibration import fit_certainty
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_dtype
from wsinuc.segmenters import segmenter_from
from wsinuc.workflows.evaluate.predictions import predict_nuclei
from wsinuc.workflows.evaluate.run import evaluate

HELD_OUT = {"09", "10", "11"}
MPP_RANGE = (0.1, 1.1)
"""um per pixel; docs/models/index.md has what is left of the accuracy at 0.5 and 1.0."""

OPENING_UM = 0.5
"""Radius of the disc that takes thin tongues off nuclei; what it gains is in the experiments of 2026-11-30."""


def finish(model: Path, data: Path) -> None:
    """Measure, and rewrite the checkpoint."""
    checkpoint = load_checkpoint(model, "segmenter")
    watershed = checkpoint.config["watershed"] | {"opening_um": OPENING_UM}
    unmeasured = checkpoint.config | {"certainty": (1.0, 0.0), "mpp_range": MPP_RANGE, "watershed": watershed}
    device = torch.device("cpu")
    segmenter = segmenter_from(replace(checkpoint, config=unmeasured), device=device, dtype=pick_dtype(device))
    dataset = open_dataset(data / "tnbc", mpp=0.25).where({"patient": frozenset(HELD_OUT)})
    classes = [nucleus.name for nucleus in segmenter.classes]
    verdicts = evaluate(dataset, partial(predict_nuclei, segmenter=segmenter), predicted_classes=classes).verdicts
    line = fit_certainty(verdicts.probabilities, verdicts.right)
    print(f"{model.name}: slope {line[0]:.3f}, offset {line[1]:.3f} from {len(verdicts.right)} nuclei")
    save_checkpoint(replace(checkpoint, config=unmeasured | {"certainty": line}), model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    finish(arguments.model, arguments.data)


if __name__ == "__main__":
    main()
