"""``wsinuc train --points``: classes of segmented nuclei from a few points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

OPTIONS = {"data", "output", "points", "model", "folds", "permutations", "mpp", "wanted", "unwanted", "seed", "dry_run"}
"""Of ``wsinuc train``, those that mean something with ``--points`` (and the device)."""
ONLY_POINTS = ("model", "folds", "permutations")


def run(data: tuple[str, ...], output: Path, device: str, options: dict[str, Any]) -> None:
    """Train on the points of one data set and say how well classes are told apart."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.workflows.classify.run import PointTrainConfig, gather_points, train_points

    if len(data) > 1:
        raise click.UsageError(f"--points takes one data set, got {len(data)}")
    config = PointTrainConfig(**{name: options[name] for name in ("folds", "permutations", "seed")})
    found = gather_points(
        data[0],
        mpp=options["mpp"],
        wanted=parse_conditions(options["wanted"]),
        unwanted=parse_conditions(options["unwanted"]),
    )
    count = sum(len(image.points) for image in found.images if image.points is not None)
    names = ", ".join(c.name for c in found.classes)
    click.echo(
        f"points: {len(found.images)} images, {count:,} points; classes: {names}; segmented by {options['model']}"
    )
    if options["dry_run"]:
        return
    scores = train_points(
        found.images,
        found.classes,
        options["model"],
        output,
        config,
        device=device,
        provenance={"data": [found.origin]},
        on_event=click.echo,
    )
    if scores is not None:
        click.echo(_table(scores))
    click.echo(f"Written to {output}. Next: wsinuc segment slide.svs --model {output}")


def _table(scores: Any) -> str:
    """The confusion of the cross-validation and its figures, for the terminal."""
    width = max(9, *map(len, scores.names)) + 2
    cells = [["annotated", *scores.names, "F1"]]
    for name, row in zip(scores.names, scores.confusion.tolist(), strict=True):
        cells.append([name, *map(str, row), f"{scores.f1[name]:.3f}"])
    lines = ["".join(f"{cell:>{width}}" for cell in row) for row in cells]
    return "\n".join(
        [
            "Images that the classifier has not seen (rows annotated, columns predicted):",
            *lines,
            f"accuracy {scores.accuracy:.3f} (always the most frequent class: {scores.majority:.3f}), "
            f"balanced accuracy {scores.balanced_accuracy:.3f} (chance: {1 / len(scores.names):.3f})",
        ]
    )
