"""``wsinuc compare``: how much a synthetic data set is like a real one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc.grid import ceil_div
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import DEFAULTS, device_option
from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.models.features.image_vectors import FeatureNetwork
    from wsinuc.workflows.compare.distances import Distance
    from wsinuc.workflows.compare.run import SetComparison

FILE = click.Path(path_type=Path)
TITLES = {
    "frechet": "Frechet distance of features",
    "kernel": "kernel distance of features",
    "fsd": "FSD, shares of classes in %",
}
USUAL_MPP = 0.5
"""um per pixel of the patches where neither the user nor the network says it."""


@click.command(cls=SectionedCommand)
@click.argument("real", metavar="REAL")
@click.argument("synthetic", metavar="SYNTHETIC")
@click.option("-o", "--output", type=FILE, metavar="DIR", help="Folder for figures and pictures.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of a set that does not record it.")
@click.option("--split", type=FILE, metavar="FILE", help="Split of REAL, made by wsinuc data split or by a training.")
@click.option("--part", metavar="NAME", help="Part of the split to compare with.  [default: train]")
@click.option(
    "--model",
    default=DEFAULTS["model"],
    show_default=True,
    metavar="NAME|FILE|none",
    help="Shipped model or checkpoint that measures how well images and labels agree in both sets; none skips that.",
)
@click.option(
    "--features",
    type=FILE,
    metavar="FILE",
    help="Network whose features are compared: a denoiser, or the Inception weights of FID.  [default: the shipped "
    "denoiser]",
)
@click.option("--patch", type=int, default=128, show_default=True, metavar="PX", help="Side of the patches in pixels.")
@click.option(
    "--patch-mpp",
    type=float,
    metavar="UM",
    help="um per pixel of the patches.  [default: that of the network, else 0.5]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything that is drawn at random.")
@device_option
def compare(real: str, synthetic: str, output: Path | None, device: str, **options: Any) -> None:
    """Say how much a SYNTHETIC data set is like a REAL one.

    Distances between the features and between the measured nuclei of both sets stand beside those between
    two halves of the real set: sets that are no further apart than the halves cannot be told apart.

    \b
    wsinuc compare tnbc synthetic --mpp 0.25 -o comparison
    wsinuc compare monuseg synthetic --split tenth.json -o comparison
    """
    from wsinuc.models.devices import prepare_device
    from wsinuc.models.features.image_vectors import load_feature_network
    from wsinuc.segmenters import FEATURES, load_segmenter
    from wsinuc.workflows.compare.patches import Cutting
    from wsinuc.workflows.compare.run import compare_sets

    if options["part"] is not None and options["split"] is None:
        raise click.UsageError("--part is of a split file: give --split too")
    network: FeatureNetwork = load_feature_network(options["features"] or FEATURES, device=prepare_device(device))
    # Features mean most at the resolution that the network was trained at.
    mpp = options["patch_mpp"] or network.mpp or USUAL_MPP
    segmenter = None
    if options["model"] != "none":
        segmenter = load_segmenter(options["model"], device=device)
    comparison = compare_sets(
        _chosen(_open(real, options["mpp"]), options["split"], options["part"]),
        _open(synthetic, options["mpp"]),
        network,
        cutting=Cutting(size_px=options["patch"], mpp=mpp, seed=options["seed"]),
        segmenter=segmenter,
        out=output,
        overwrite=options["overwrite"],
        on_image=_show_progress,
    )
    _show(comparison)
    if output is not None:
        echo(f"Written to {output}: comparison.json, distributions.png, patches.png")


def _open(source: str, mpp: float | None) -> Dataset:
    """A data set at the resolution that it records, else at the one given: the two sets may differ."""
    from wsinuc.datasets import open_dataset
    from wsinuc.errors import MppError

    try:
        return open_dataset(source)
    except MppError:
        return open_dataset(source, mpp=mpp)


def _chosen(dataset: Dataset, split: Path | None, part: str | None) -> Dataset:
    """The part of the real set that generators were trained on; all of it without a split."""
    if split is None:
        return dataset
    from wsinuc.datasets.sampling.split import Split

    return Split.load(split).of(dataset, part or "train")


def _show_progress(what: str, done: int, total: int) -> None:
    """A line at every tenth of the images, so that a pipe stays readable."""
    if done == total or done % ceil_div(total, 10) == 0:
        echo(f"{what}: {done} of {total} images", err=True)


def _show(comparison: SetComparison) -> None:
    summary = comparison.summary()
    network = summary["network"]
    cutting = comparison.cutting
    echo(f"features: {network['name']} ({network['description']})")
    echo(f"patches: {cutting.size_px} px at {cutting.mpp:g} um per px")
    for name, counts in summary["sets"].items():
        echo(f"{name}: {counts['images']} images, {counts['patches']} patches, {counts['nuclei']} nuclei seen")
    # Distances shrink with n, so the number of patches stands above each column.
    half = comparison.distances.half_size
    echo()
    echo(f"{'distance':36}  {'all':>10}  {f'n = {half}':>10}  {f'real, n = {half}':>16}")
    for name, distance in comparison.distances.sets.items():
        echo(f"{TITLES[name]:36}  {_distance(distance)}")
    for name, score in comparison.inception.items():
        echo(f"{f'inception score, {name}':36}  {score:10.3f}")
    _show_quantities(comparison)
    for name in ("background", *comparison.classes):
        shares = "  ".join(f"{comparison.class_percent[each][name]:10.2f}" for each in comparison.figures)
        echo(f"{f'% of pixels: {name}'[:36]:36}  {shares}")
    for name, scores in comparison.alignment.items():
        values = "  ".join(f"{title} {_number(value)}" for title, value in scores.items())
        echo(f"segmenter against {name} labels: {values}")
    for note in comparison.notes:
        echo(f"Note: {note}")


def _show_quantities(comparison: SetComparison) -> None:
    from wsinuc.metrics.distributions import relative_difference
    from wsinuc.workflows.compare.patches import QUANTITIES

    heads = ("real", "synthetic", "difference", "real halves", "Wasserstein", "real halves")
    echo()
    echo(f"{'mean':36}  " + "  ".join(f"{head:>11}" for head in heads))
    for name, each in comparison.distances.quantities.items():
        values = (
            _number(each.real.mean),
            _number(each.synthetic.mean),
            _percent(relative_difference(each.real.mean, each.synthetic.mean)),
            # A spread between halves has no sign.
            _percent(each.relative_mean.floor).replace("+", ""),
            _number(each.wasserstein.value),
            _number(each.wasserstein.floor),
        )
        echo(f"{QUANTITIES[name]:36}  " + "  ".join(f"{value:>11}" for value in values))


def _distance(distance: Distance) -> str:
    return f"{_number(distance.value):>10}  {_number(distance.same_n):>10}  {_number(distance.floor):>16}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4g}"


def _percent(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:+.1f} %"
