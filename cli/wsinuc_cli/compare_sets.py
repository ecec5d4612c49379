"""What ``wsinuc evaluate --real --synthetic`` does and shows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.models.features.image_vectors import FeatureNetwork
    from wsinuc.workflows.compare.distances import Distance
    from wsinuc.workflows.compare.run import SetComparison

SETS_ONLY = ("real", "synthetic", "features", "patch", "patch_mpp", "seed")
"""Options that mean something in a comparison of sets alone; all others but `BOTH` belong to the usual evaluation."""
BOTH = ("mpp", "split", "part", "model", "device", "output", "overwrite")
TITLES = {
    "frechet": "Frechet distance of features",
    "kernel": "kernel distance of features",
    "fsd": "FSD, shares of classes in %",
}
USUAL_MPP = 0.5
"""um per pixel of the patches where neither the user nor the network says it."""


def chosen_sets(given: Collection[str]) -> bool:
    """Whether the options given on the command line ask for a comparison of sets; raises
    click.UsageError for a mixture."""
    asked = [name for name in SETS_ONLY if name in given]
    if not asked:
        return False
    flags = {name: f"--{name.replace('_', '-')}" for name in [*SETS_ONLY, *given]}
    for needed in ("real", "synthetic"):
        if needed not in given:
            raise click.UsageError(f"{flags[asked[0]]} compares two sets: give both --real and --synthetic")
    names = {"wanted": "--where", "unwanted": "--where-not"}
    others = [names.get(name, flags[name]) for name in given if name not in (*SETS_ONLY, *BOTH)]
    if others:
        raise click.UsageError(
            f"{', '.join(others)} measures predictions and does not go with --real and --synthetic; "
            "a part of the real set can be named with --split and --part"
        )
    return True


def run_comparison(
    *,
    real: str,
    synthetic: str,
    split: Path | None,
    part: str | None,
    features: Path | None,
    patch: int,
    patch_mpp: float | None,
    seed: int,
    mpp: float | None,
    model: str,
    device: str,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Compare the two sets, of the real one ``part`` (by default ``train``) of ``split``, and print what came out."""
    from wsinuc.models.devices import pick_device
    from wsinuc.models.features.image_vectors import load_feature_network
    from wsinuc.segmenters import FEATURES, load_segmenter
    from wsinuc.workflows.compare.patches import Cutting
    from wsinuc.workflows.compare.run import compare_sets

    if part is not None and split is None:
        raise click.UsageError("--part is of a split file: give --split too")
    network: FeatureNetwork = load_feature_network(features or FEATURES, device=pick_device(device))
    cutting = Cutting(size_px=patch, mpp=patch_mpp or network.mpp or USUAL_MPP, seed=seed)
    segmenter = None if model == "none" else load_segmenter(model, device=device)
    comparison = compare_sets(
        _chosen(_open(real, mpp), split, part),
        _open(synthetic, mpp),
        network,
        cutting=cutting,
        segmenter=segmenter,
        out=output,
        overwrite=overwrite,
        on_image=_show_progress,
    )
    _show(comparison)
    if output is not None:
        click.echo(f"Written to {output}: comparison.json, distributions.png, patches.png")


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
    if done == total or done % -(-total // 10) == 0:
        click.echo(f"{what}: {done} of {total} images", err=True)


def _show(comparison: SetComparison) -> None:
    summary = comparison.summary()
    network, cutting = summary["network"], comparison.cutting
    click.echo(f"features: {network['name']} ({network['description']})")
    click.echo(f"patches: {cutting.size_px} px at {cutting.mpp:g} um per px")
    for name, counts in summary["sets"].items():
        click.echo(f"{name}: {counts['images']} images, {counts['patches']} patches, {counts['nuclei']} nuclei seen")
    half = comparison.distances.half_size
    click.echo(f"\n{'distance':36}  {'all':>10}  {f'n = {half}':>10}  {f'real, n = {half}':>16}")
    for name, distance in comparison.distances.sets.items():
        click.echo(f"{TITLES[name]:36}  {_distance(distance)}")
    for name, score in comparison.inception.items():
        click.echo(f"{f'inception score, {name}':36}  {score:10.3f}")
    _show_quantities(comparison)
    for name in ("background", *comparison.classes):
        shares = "  ".join(f"{comparison.class_percent[each][name]:10.2f}" for each in comparison.figures)
        click.echo(f"{f'% of pixels: {name}'[:36]:36}  {shares}")
    for name, scores in comparison.alignment.items():
        values = "  ".join(f"{title} {_number(value)}" for title, value in scores.items())
        click.echo(f"segmenter against {name} labels: {values}")
    for note in comparison.notes:
        click.echo(f"Note: {note}")


def _show_quantities(comparison: SetComparison) -> None:
    from wsinuc.metrics.distributions import relative_difference
    from wsinuc.workflows.compare.patches import QUANTITIES

    heads = ("real", "synthetic", "difference", "real halves", "Wasserstein", "real halves")
    click.echo(f"\n{'mean':36}  " + "  ".join(f"{head:>11}" for head in heads))
    for name, each in comparison.distances.quantities.items():
        values = (
            _number(each.real.mean),
            _number(each.synthetic.mean),
            _percent(relative_difference(each.real.mean, each.synthetic.mean)),
            _percent(each.relative_mean.floor).replace("+", ""),
            _number(each.wasserstein.value),
            _number(each.wasserstein.floor),
        )
        click.echo(f"{QUANTITIES[name]:36}  " + "  ".join(f"{value:>11}" for value in values))


def _distance(distance: Distance) -> str:
    return f"{_number(distance.value):>10}  {_number(distance.same_n):>10}  {_number(distance.floor):>16}"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4g}"


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:+.1f} %"
