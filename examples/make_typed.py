"""Make the shipped models `typed` and `breast`: nuclei of the default model with classes of breast tissue.

    python examples/make_typed.py DATA --model fast -o typed.safetensors --breast breast.safetensors

DATA is a folder with `brca_m2c` (points of lymphocytes, epithelial and stromal nuclei) and
`nucls_points`. Patients of the authors' test list, and images that MoNuSeg has, teach nothing. A
network that sees the surroundings learns from four fifths of the other patients of `brca_m2c`, and
regressions on what it says, and on what is measured of each nucleus, from the rest. `breast` has
the same network and regressions that have seen NuCLS, too.

Beside each model stand its report on the test patients (`.held_out.json`, with pictures of the
confusion and of the calibration) and one on NuCLS (`.nucls.json`): of images that `typed` has not
seen, and for `breast` of five folds, each by regressions that have seen the other four.
Segmentations are kept in `--cache`, the training's state beside the model, and a model that is
there already is kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.features.nucleus_classifier import ClassifierConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.typed import TypedSegmenter
from wsinuc.workflows.classify.cross_validate import ClassScores, fit_on
from wsinuc.workflows.classify.learn_maps import MapsConfig
from wsinuc.workflows.classify.marked import exchanged_axes, mark
from wsinuc.workflows.classify.nuclei import describe_marked
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
NUCLS_UM = 0.25
"""um per px of the images of NuCLS at hand. Published ones have 0.2; with these so, lymphocytes would cover 13.8 um^2,
and with 0.25 they cover 20.7, as in `brca_m2c` (20.8 and 21.4 in its largest two sites)."""
TIMES = 10
"""How often each image of NuCLS counts for `breast`: they are few and small."""
PENALTY = 0.003
"""Of the regressions of `breast`, by cross-validation on both sets."""
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
    images = open_dataset(f"nucls={data / 'nucls_points'}", mpp=NUCLS_UM)
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
    if not out.exists():
        teach(learned, out=out, config=config, provenance=origin)
        reported(out, test, cache, out.with_suffix(".held_out.json"))
        reported(out, nucls(data), cache, out.with_suffix(".nucls.json"))
    if breast is None:
        return
    held = set(taught_by(out))
    rest = [image for image in learned if image.name not in held]
    origin = {"data": [DATA_TEXT, "NuCLS (CC0, Amgad et al. 2022)"], "licence": "Apache-2.0"}
    config = replace(config, network=None, classifier=ClassifierConfig(penalty=PENALTY))
    if not breast.exists():
        teach(rest + TIMES * nucls(data), out=breast, config=config, network_from=str(out), provenance=origin)
    reported(breast, test, cache, breast.with_suffix(".held_out.json"))
    folded(breast, rest, nucls(data), config, cache)


def folded(
    model: Path, rest: list[LabelledImage], images: list[LabelledImage], config: PointTrainConfig, cache: Path | None
) -> None:
    """Measure regressions like those of ``model`` on each fifth of ``images``, having seen ``rest`` and the others."""
    segmenter = load_segmenter(str(model))
    assert isinstance(segmenter, TypedSegmenter)
    marked = mark([*rest, *images], segmenter.base, cache=cache)
    describe = partial(describe_marked, classes=CLASSES, segmenter=segmenter, stain=config.stain, seed=config.seed)
    table = describe([*marked[: len(rest)], *TIMES * marked[len(rest) :]], views=config.views)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for fold in range(config.folds):
        # An image that counts several times is in the same fold each time.
        own = [k for k in range(len(images)) if k % config.folds == fold]
        held = (table.images >= len(rest)) & np.isin((table.images - len(rest)) % len(images), own)
        classifier = fit_on(table, ~held, config.classifier)
        once = held & (table.images < len(rest) + len(images))
        predicted = classifier(table.descriptors[0][once])[0].argmax(axis=1)
        np.add.at(confusion, (table.classes[once], predicted), 1)
    scores = ClassScores(table.names, confusion)
    out = model.with_suffix(".nucls.json")
    out.write_text(json.dumps(scores.as_json(), indent=2) + "\n", encoding="utf-8")
    say(f"{out.stem}: balanced accuracy {scores.balanced_accuracy:.3f} in {config.folds} folds by image")


def taught_by(model: Path) -> list[str]:
    """Names of the images that the model's network has learned from."""
    names: list[str] = load_checkpoint(model, "segmenter").provenance["network"]["images"]
    return names


if __name__ == "__main__":
    main()
