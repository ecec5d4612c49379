"""``wsinuc join``: which fragments of nuclei a model should join, from annotated images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsinuc.progress_line import ProgressLine
from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import checkpoint_option, device_option, dry_run_option, seed_option
from wsinuc_cli.options.images import condition_options, gather, split_options
from wsinuc_cli.options.overlay import given_options, overlaid
from wsinuc_cli.progress.training import log_option, telling
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import measuring_command
from wsinuc_cli.texts.training_cost import echo_cost

FIELDS = {"seed": "seed"}
"""Option -> the field of `JoiningFit` that it sets."""
_EVERY = 50  # crops between two lines


@click.command(cls=SectionedCommand)
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@checkpoint_option
@click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="BASE",
    help="Shipped model or checkpoint whose fragments are joined; OUTPUT holds it and the rule.",
)
@condition_options
@split_options
@seed_option
@log_option
@dry_run_option("learned")
@device_option
@click.pass_context
def join(
    context: click.Context,
    /,
    data: tuple[str, ...],
    output: Path,
    model: str,
    device: str,
    dry_run: bool,
    **options: Any,
) -> None:
    """Learn which fragments of nuclei a model should join.

    DATA is a data set with outlines; several are mixed. Nuclei on crops of them are cut into too many
    fragments on purpose, and a rule of ten weights learns from the annotation which cuts to undo.

    \b
    wsinuc join mine/ --mpp 0.25 --model fast -o joined.safetensors
    """
    from wsinuc.own_files import check_place
    from wsinuc.segmenters import model_path
    from wsinuc.workflows.join.run import JoiningFit, train_joining

    check_place(output)
    chosen = gather(data, options)
    model_path(model)  # raises for a model that is not there
    config = overlaid(JoiningFit(), FIELDS, given_options(context))
    echo(f"joining: {len(chosen.images)} images, {config.crops} crops of them, segmented by {model}")
    if dry_run:
        from wsinuc.workflows.join.cost import join_cost

        echo_cost(join_cost(chosen.images, model, config, device=device))
        return

    with telling(options["log"]) as tell:

        def report(done: int) -> None:
            text = ""
            if done % _EVERY == 0:
                text = f"{done} of {config.crops} crops"
            tell(ProgressLine(text, stage="joining", unit="crops", done=done, total=config.crops))

        rule = train_joining(
            chosen.images, model, output, config, weights=chosen.weights, device=device, on_crop=report
        )
    echo(
        f"{rule.joins:,} pairs of fragments; by area, {rule.decided:.1%} of held-out ones are decided as annotated "
        f"(by one height for all: {rule.decided_by_height:.1%})"
    )
    after = measuring_command(data[0], options, output)
    echo(f"Written to {output}. Next: {after}")
