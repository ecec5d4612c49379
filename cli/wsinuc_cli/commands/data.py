"""``wsinuc data``: look at annotated data sets, and split them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import device_option
from wsinuc_cli.options.images import condition_options, regions_option
from wsinuc_cli.terminal import as_text, echo, echo_text

if TYPE_CHECKING:
    from wsinuc.workflows.data.info import DatasetDescription
    from wsinuc.workflows.data.subset import Subset

FILE = click.Path(path_type=Path)
WIDEST = 44
"""Letters of a name beyond which what is said of it is not aligned with the rest."""


@click.group()
def data() -> None:
    """Look at annotated data sets, and split them.

    A data set is a folder as its authors published it, recognised by its files; NAME=FOLDER says which one it is.
    """


@data.command(cls=SectionedCommand, short_help="Count what a data set holds, and draw a contact sheet.")
@click.argument("source", metavar="DATA")
@click.option("-o", "--output", type=FILE, help="Contact sheet to draw (.png).")
@click.option("--mpp", type=float, metavar="UM", help="um per pixel of a data set that does not record it.")
@regions_option
@click.option(
    "--tiles",
    type=click.IntRange(1, 200),
    default=12,
    show_default=True,
    metavar="N",
    help="Images on the contact sheet.",
)
def info(source: str, output: Path | None, mpp: float | None, regions: str | None, tiles: int) -> None:
    """Count the images of DATA, their sizes, and their nuclei by class and organ; draw a contact sheet.

    \b
    wsinuc data info pannuke/ -o pannuke.png
    """
    from wsinuc.workflows.data.info import describe_dataset

    echo_text(describe(describe_dataset(source, mpp=mpp, sheet=output, tiles=tiles, regions=regions)))
    if output:
        echo(f"Contact sheet: {output}")


@data.command(cls=SectionedCommand, short_help="Divide a data set into parts, or choose a few patches.")
@click.argument("source", metavar="DATA")
@click.option("-o", "--output", type=FILE, required=True, help="Split to write (.json).")
@click.option(
    "--parts",
    default="train=0.8,test=0.2",
    show_default=True,
    metavar="NAME=SHARE,...",
    help="Names of the parts and the share of the images that each gets.",
)
@click.option(
    "--few",
    type=click.IntRange(min=1),
    metavar="N",
    help="Instead of parts of images: N patches that stand for all of them, as the part train.",
)
@click.option(
    "--size",
    type=click.IntRange(min=16),
    default=256,
    show_default=True,
    metavar="PX",
    help="With --few: side of a patch in pixels.",
)
@regions_option
@click.option(
    "--stratify", metavar="COLUMN", help="Spread the values of this attribute evenly over the parts, such as organ."
)
@click.option(
    "--group", metavar="COLUMN", help="Keep images with the same value of this attribute in one part, such as patient."
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn at random.")
def split(
    source: str,
    output: Path,
    parts: str,
    few: int | None,
    size: int,
    regions: str | None,
    stratify: str | None,
    group: str | None,
    seed: int,
) -> None:
    """Divide the images of DATA into parts, or choose a few patches of them, and save that as a split file.

    \b
    wsinuc data split tnbc/ --parts train=0.7,test=0.3 --group patient -o split.json
    wsinuc data split monuseg/ --few 16 --seed 1 -o few.json
    """
    if few and (stratify or group):
        raise click.UsageError("--few spreads its patches by itself; leave --stratify and --group out")
    from wsinuc.datasets.sampling.split import few_patches, split_images, torn_apart
    from wsinuc.own_files import check_place
    from wsinuc.workflows.data.info import open_for_counting

    check_place(output)
    dataset = open_for_counting(source, regions=regions)
    if few:
        division = few_patches(dataset, few, size_px=size, seed=seed)
    else:
        division = split_images(dataset, _shares(parts), stratify=stratify, group=group, seed=seed)
    division.save(output)
    torn = torn_apart(division, dataset)
    if torn is not None:
        echo(f"Note: {torn}")
    for name, places in division.parts.items():
        echo(f"{name:<12}{len(places)} {'patches' if few else 'images'}")
    echo(f"Written to {output}")


@data.command(cls=SectionedCommand, short_help="Choose the windows that are worth labelling.")
@click.argument("source", metavar="DATA")
@click.option(
    "-o", "--output", type=FILE, required=True, help="Split to write (.json); the windows are its part train."
)
@click.option(
    "--fraction", default=0.1, show_default=True, metavar="SHARE", help="Share to take, above 0 and at most 1."
)
@click.option(
    "--by",
    type=click.Choice(["patches", "nuclei"]),
    default="patches",
    show_default=True,
    help="Whether --fraction counts windows or the nuclei in them.",
)
@click.option("--clusters", default=6, show_default=True, metavar="N", help="Clusters into which windows are sorted.")
@click.option("--size", default=256, show_default=True, metavar="PX", help="Side of a window in pixels.")
@click.option("--stride", default=128, show_default=True, metavar="PX", help="Distance between windows in pixels.")
@click.option(
    "--denoiser",
    type=FILE,
    help="Denoiser or segmenter whose features describe the windows.  [default: the shipped denoiser]",
)
@condition_options
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is drawn at random.")
@device_option
def subset(
    source: str,
    output: Path,
    denoiser: Path | None,
    mpp: float | None,
    regions: str | None,
    wanted: tuple[str, ...],
    unwanted: tuple[str, ...],
    device: str,
    size: int,
    **options: Any,
) -> None:
    """Choose the windows of DATA to label when not all can be: the most typical of each kind.

    Overlapping windows are clustered by k-means on a network's features. The same share is taken from every cluster:
    the windows nearest to its centre (Nudiff, Yu et al. 2023).

    \b
    wsinuc data subset monuseg/ --mpp 0.25 --fraction 0.1 -o tenth.json
    wsinuc train monuseg/ --mpp 0.25 --split tenth.json --method hovernet -o tenth.safetensors
    """
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.models.devices import prepare_device
    from wsinuc.models.features.image_vectors import load_feature_network
    from wsinuc.own_files import check_place
    from wsinuc.segmenters import FEATURES
    from wsinuc.workflows.data.subset import SubsetConfig, choose_subset

    config = SubsetConfig(size_px=size, **options)
    check_place(output)
    dataset = open_dataset(source, mpp=mpp, regions=regions).where(parse_conditions(wanted), parse_conditions(unwanted))
    # After the data set: a wrong path shows before a network is loaded.
    network = load_feature_network(denoiser or FEATURES, device=prepare_device(device))
    chosen = choose_subset(dataset, network, config)
    chosen.split.save(output)
    echo_text(describe_subset(chosen))
    echo(f"Written to {output}")


def describe_subset(chosen: Subset) -> str:
    """What was taken from where, a line per cluster."""
    lines = [f"features    {chosen.features}"]
    lines += [f"cluster {i:<4}{count} of {size} windows" for i, (size, count) in enumerate(chosen.clusters, start=1)]
    total = sum(size for size, _ in chosen.clusters)
    lines.append(f"train       {chosen.windows} of {total} windows ({chosen.windows / total:.1%})")
    lines.append(f"nuclei      {chosen.nuclei:,} of the data set's ({chosen.nuclei_share:.1%})")
    return as_text(lines)


def describe(dataset: DatasetDescription) -> str:
    """The facts, a line each."""
    unlabelled = dataset.kind == "unlabelled"
    # What the layout marks is what is counted.
    things = {"points": "points", "glands": "glands"}.get(dataset.kind, "nuclei")
    empty = ""
    if dataset.empty and not unlabelled:
        empty = f", {dataset.empty} without {things}"
    # Width first, as people say it; arrays have the height first.
    sizes = [f"{width} x {height} ({count})" for (height, width), count in dataset.sizes.items()]
    more = ""
    if len(sizes) > 4:
        more = f" and {len(sizes) - 4} more"
    if unlabelled:
        counted = ("annotation", "none")
    else:
        counted = (things, f"{dataset.nuclei:,}" + _diameter(dataset))
    rows = [
        ("layout", dataset.layout),
        ("images", f"{dataset.images}{empty}"),
        ("size", ", ".join(sizes[:4]) + more),
        ("resolution", _resolution(dataset)),
        counted,
        *((f"  {name}", f"{count:,}") for name, count in dataset.classes.items()),
    ]
    for attribute, values in dataset.attributes.items():
        rows.append((attribute, f"{len(values)} {'value' if len(values) == 1 else 'values'}"))
        for value, share in values.items():
            count = f"{share.images} images"
            if not unlabelled:
                count = f"{share.nuclei:,} {things} in {count}"
            rows.append((f"  {value or '(none)'}", count))
    # One very long attribute would push all values off the screen.
    width = min(WIDEST, max(len(name) for name, _ in rows)) + 2
    lines = [f"  {name:<{width}}{value}" for name, value in rows]
    return as_text([str(dataset.path), *lines, *(f"Note: {note}" for note in dataset.notes)])


def _resolution(dataset: DatasetDescription) -> str:
    if not dataset.mpp:
        return "not recorded; give it with --mpp (0.25 is usual for 40x, 0.5 for 20x)"
    missing = dataset.images - sum(dataset.mpp.values())
    if len(dataset.mpp) == 1 and not missing:
        return f"{next(iter(dataset.mpp)):.4g} um per pixel"
    known = [f"{mpp:.4g} um per pixel ({count})" for mpp, count in sorted(dataset.mpp.items())]
    return ", ".join(known + [f"not recorded ({missing})"] * bool(missing))


def _diameter(dataset: DatasetDescription) -> str:
    if math.isnan(dataset.diameter_px):
        return ""
    # In um only where every image has the same resolution.
    one = len(dataset.mpp) == 1 and sum(dataset.mpp.values()) == dataset.images
    um = ""
    if one:
        um = f", {dataset.diameter_px * next(iter(dataset.mpp)):.1f} um"
    return f", median diameter {dataset.diameter_px:.0f} px{um}"


def _shares(text: str) -> dict[str, float]:
    try:
        pairs = [part.split("=") for part in text.split(",")]
        shares = {name.strip(): float(share) for name, share in pairs}
    except ValueError:
        raise click.BadParameter(f"expected parts like train=0.8,test=0.2, got {text!r}") from None
    if len(shares) < len(pairs):
        raise click.BadParameter(f"a part is named twice, got {text!r}")
    return shares
