"""Make the shipped models `typed` and `breast`: nuclei of the default model with classes of breast tissue.

    python examples/make_typed.py DATA --model fast -o typed.safetensors --breast breast.safetensors

DATA is a folder with `brca_m2c` (points of lymphocytes, epithelial and stromal nuclei) and
`nucls_points`. Patients of the authors' test list, and images that MoNuSeg has, teach nothing. A
network that sees the surroundings learns from four fifths of the other patients of `brca_m2c`, and
regressions on what it says, and on what is measured of each nucleus, from the rest. `breast` has
the same network and regressions that have seen NuCLS, too.

Beside each model stand its report on the test patients (`.held_out.json`, with pictures of the
confusion and of the calibration) and, for `typed`, one on NuCLS, none of which it has seen
(`.nucls.json`). Segmentations are kept in `--cache`, the training's state beside the model: the
same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.typed import TypedSegmenter
from wsinuc.workflows.classify.learn_maps import MapsConfig
from wsinuc.workflows.classify.marked import exchanged_axes, mark
from wsinuc.workflows.classify.report import HeldOutReport, report_held_out
from wsinuc.workflows.classify.run import PointTrainConfig, train_points

CLASSES = (
    NucleusClass("Lymphocyte", (46, 134, 222)),
    NucleusClass("Epithelial", (231, 76, 60)),
    NucleusClass("Stromal", (39, 174, 96)),
)
"""In the order of `brca_m2c`."""
OF_NUCLS = {1: 2, 2: 3, 3: 1, 4: 0}
"""Tumor, Stromal, sTIL and Other of NuCLS in these classes; what is another nucleus there is not known here."""
DATA_TEXT = "BRCA-M2C (BSD-3-Clause, Abousamra et al. 2021; TCGA pixels)"

say = partial(print, flush=True)


def listed(folder: Path, name: str) -> frozenset[str]:
    """Names of images in one of the set's lists, without endings."""
    lines = (folder / name).read_text(encoding="utf-8").split()
    return frozenset(line.rsplit(".", 1)[0] for line in lines)


def brca(data: Path) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images to learn from, and those of the authors' test patients."""
    folder = data / "brca_m2c"
    test = listed(folder, "brca_ds_test.txt")
    without = listed(folder, "overlap_with_monuseg.txt")
    images = [image for image in open_dataset(str(folder)) if image.name not in without]
    patients = {image.attributes["patient"] for image in images if image.name in test}
    learned = [image for image in images if image.attributes["patient"] not in patients]
    return learned, [image for image in images if image.name in test]


def nucls(data: Path) -> list[LabelledImage]:
    """The images of NuCLS with their points in our classes."""
    number = np.array([0, *(OF_NUCLS[i] for i in sorted(OF_NUCLS))], np.int32)
    images = open_dataset(f"nucls={data / 'nucls_points'}")
    return [replace(image, point_classes=number[image.point_classes]) for image in images]


def in_order(images: list[LabelledImage], model: str, cache: Path | None) -> bool:
    """Whether x and y of these points are what they say; the authors' files have rows first."""
    segmenter = load_segmenter(model)
    try:
        mark(images[:3], segmenter, cache=cache)
    except DataError as error:
        say(f"{error}; they are exchanged")
        return False
    return True


def reported(model: Path, images: list[LabelledImage], cache: Path | None, out: Path) -> HeldOutReport:
    """Measure a model on images that it has not seen, and write the report."""
    segmenter = load_segmenter(str(model))
    assert isinstance(segmenter, TypedSegmenter)
    report = report_held_out(mark(images, segmenter.base, cache=cache), segmenter)
    report.write(out)
    recall = report.scores.confusion.diagonal() / report.scores.confusion.sum(axis=1)
    found = ", ".join(f"{name} {share:.3f}" for name, share in zip(report.scores.names, recall, strict=True))
    points = ", ".join(f"{name} {each.f1:.3f}" for name, each in report.by_class.items())
    say(
        f"{out.stem}: balanced accuracy {report.scores.balanced_accuracy:.3f} ({found}); F against points {points}, "
        f"detection {report.detection.f1:.3f}; calibration error {report.reliability.error:.3f}, with classes alike "
        f"{report.balanced_error:.3f}"
    )
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="fast", help="what finds the nuclei")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--breast", type=Path, help="write this model, too")
    parser.add_argument("--cache", type=Path, help="folder in which segmentations are kept")
    parser.add_argument("--steps", type=int, default=MapsConfig().fit.steps)
    arguments = parser.parse_args()
    make(arguments.data, arguments.model, arguments.output, arguments.breast, arguments.cache, arguments.steps)


def make(data: Path, model: str, out: Path, breast: Path | None, cache: Path | None, steps: int) -> None:
    """Make both models and their reports."""
    learned, test = brca(data)
    if not in_order(learned, model, cache):
        learned = [exchanged_axes(image) for image in learned]
        test = [exchanged_axes(image) for image in test]
    maps = MapsConfig(fit=replace(MapsConfig().fit, steps=steps))
    config = PointTrainConfig(network=maps, views=3, stain=0.4, permutations=0)
    origin = {"data": [DATA_TEXT], "licence": "Apache-2.0"}
    teach = partial(train_points, classes=CLASSES, base=model, cache=cache, on_event=say)
    teach(learned, out=out, config=config, provenance=origin)
    reported(out, test, cache, out.with_suffix(".held_out.json"))
    reported(out, nucls(data), cache, out.with_suffix(".nucls.json"))
    if breast is not None:
        held = set(taught_by(out))
        rest = [image for image in learned if image.name not in held] + nucls(data)
        origin = {"data": [DATA_TEXT, "NuCLS (CC0, Amgad et al. 2022)"], "licence": "Apache-2.0"}
        config = replace(config, network=None)
        teach(rest, out=breast, config=config, network_from=str(out), provenance=origin)
        reported(breast, test, cache, breast.with_suffix(".held_out.json"))


def taught_by(model: Path) -> list[str]:
    """Names of the images that the model's network has learned from."""
    names: list[str] = load_checkpoint(model, "segmenter").provenance["network"]["images"]
    return names


if __name__ == "__main__":
    main()
