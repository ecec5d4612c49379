"""``wsinuc train --joining``: which fragments of nuclei a model should join, from annotated images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wsinuc.workflows.data.training_set import TrainingSet

OPTIONS = {"data", "output", "joining", "model", "mpp", "wanted", "unwanted", "split", "part", "seed", "dry_run"}
"""Of ``wsinuc train``, those that mean something with ``--joining`` (and the device)."""
_EVERY = 50  # crops between two lines


def run(chosen: TrainingSet, model: str, output: Path, *, seed: int, device: str, dry_run: bool) -> None:
    """Learn the rule and say how often it is right."""
    from wsinuc.workflows.join.run import JoiningFit, train_joining

    config = JoiningFit(seed=seed)
    click.echo(f"joining: {len(chosen.images)} images, {config.crops} crops of them, segmented by {model}")
    if dry_run:
        return

    def say(done: int) -> None:
        if done % _EVERY == 0:
            click.echo(f"{done} of {config.crops} crops")

    found = train_joining(chosen.images, model, output, config, weights=chosen.weights, device=device, on_crop=say)
    click.echo(
        f"{found.joins:,} pairs of fragments; by area, {found.decided:.1%} of held-out ones are decided as annotated "
        f"(by one height for all, as before: {found.decided_by_height:.1%})"
    )
    click.echo(f"Written to {output}. Next: wsinuc evaluate --data DATA --model {output}")
