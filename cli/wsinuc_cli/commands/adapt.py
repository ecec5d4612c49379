"""``wsinuc adapt``: a model that exists, tuned on a few annotated windows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsinuc_cli.help.sections import SectionedCommand
from wsinuc_cli.options.common import checkpoint_option, device_option, dry_run_option, seed_option
from wsinuc_cli.options.images import condition_options, gather, split_options
from wsinuc_cli.options.overlay import given_options, overlaid
from wsinuc_cli.progress.training import log_option, telling
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import measuring_command
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.workflows.adapt.run import Outcome

FIELDS = {"steps": "fit.steps", "lr": "fit.lr", "folds": "folds", "seed": "seed"}
"""Option -> the field of `AdaptConfig` that it sets."""


@click.command(cls=SectionedCommand)
@click.argument("model")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@checkpoint_option
@condition_options
@split_options
@click.option(
    "--few",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only N windows of DATA; OUTPUT.split.json records which.",
)
@click.option("--patch", default=256, show_default=True, help="With --few: side of a window in pixels.")
@click.option(
    "--rest",
    multiple=True,
    metavar="SOURCE",
    help="Slide, image or folder of other tissue on which the model should stay as it is; repeatable.",
)
@click.option(
    "--anyway", is_flag=True, help="Write OUTPUT also where it is not better, or where that could not be measured."
)
@click.option("--steps", type=int, help="Steps of each tuning.")
@click.option("--lr", type=float, help="Highest learning rate; it falls along a cosine.")
@click.option("--folds", type=int, metavar="N", help="Groups of windows that are held out in turn, patients whole.")
@seed_option
@log_option
@dry_run_option("tuned")
@device_option
@click.pass_context
def adapt(
    context: click.Context, /, model: str, data: tuple[str, ...], output: Path, device: str, **options: Any
) -> None:
    """Adapt a model to the nuclei of a few annotated windows.

    MODEL is a shipped model (fast, accurate, diffusion, student) or a checkpoint; DATA as for wsinuc
    train. The model's networks are tuned a little on the windows, and on what they said before of
    the tissue around them, and mixed with what they were. Windows that are held out in turn say
    how much of each is best. OUTPUT is written only where it beats MODEL on them.

    \b
    wsinuc adapt fast slide.svs -o mine.safetensors
    wsinuc adapt fast windows --mpp 0.25 --rest slides -o mine.safetensors
    wsinuc adapt accurate tnbc --mpp 0.25 --few 4 -o mine.safetensors
    """
    from wsinuc.own_files import check_place
    from wsinuc.segmenters import model_path
    from wsinuc.workflows.adapt.config import AdaptConfig
    from wsinuc.workflows.adapt.gather import check_classes, gather_material
    from wsinuc.workflows.adapt.networks import adaptable_outline
    from wsinuc.workflows.adapt.run import adapt as run

    config = overlaid(AdaptConfig(), FIELDS, given_options(context))
    check_place(output)
    outline = adaptable_outline(model)
    chosen = gather(data, options)
    check_classes([each.name for each in outline.classes], [each.name for each in chosen.classes], model)
    material = gather_material(
        chosen.datasets, options["rest"], mpp=outline.mpp, file_mpp=options["mpp"], seed=config.seed
    )
    count = _number(sum(len(field.windows) for field in material.fields), "window")
    echo(f"{model} ({model_path(model).name}): {count} of {_number(len(material.fields), 'image')}")
    if options["dry_run"]:
        from wsinuc.workflows.adapt.cost import adapt_cost

        echo_cost(adapt_cost(model, material, config, device=device))
        return
    with telling(options["log"]) as tell:
        outcome = run(
            model,
            material.fields,
            output,
            config,
            rest=material.rest,
            anyway=options["anyway"],
            device=device,
            provenance={"data": list(chosen.origin)},
            on_event=tell,
        )
    if outcome.written and chosen.drawn is not None:
        chosen.drawn.save(output.with_suffix(".split.json"))
    echo(measured(outcome, model))
    echo(ending(outcome, measuring_command(data[0], options, output), output))


def measured(outcome: Outcome, model: str) -> str:
    """What held-out windows say, in a line."""
    counts = f"{_number(len(outcome.windows), 'window')} with {outcome.nuclei} nuclei"
    choice = outcome.choice
    if choice is None:
        return (
            f"{counts}: with nuclei in a single window nothing could be held out, so nothing was measured; annotate "
            "at least two windows, better four"
        )
    empty = ""
    if outcome.empty:
        empty = f"; {_number(outcome.empty, 'window')} without nuclei: by the area that is taken for nuclei there"
    better = int((choice.after > choice.before).sum())
    worse = int((choice.after < choice.before).sum())
    return (
        f"{counts}, held out in turn ({outcome.held_out}): AJI {choice.before.mean():.3f} with {model}, "
        f"{choice.after.mean():.3f} adapted ({outcome.gain:+.3f}, standard error {outcome.gain_error:.3f}); "
        f"better in {better}, worse in {worse}{empty}"
    )


def ending(outcome: Outcome, next_command: str, output: Path) -> str:
    """Whether there is a file, what is in it, and what comes next."""
    if not outcome.written:
        if outcome.choice is None:
            reason = "Nothing was written, because it might be worse than what you have"
        else:
            reason = "Nothing was written: the model as it is does as well on windows that it was not tuned on"
        return f"{reason}. --anyway writes it all the same."
    again = ""
    if outcome.refit.names:
        again = f"; fitted again: {', '.join(outcome.refit.names)}"
    return (
        f"Written to {output}: {outcome.share:.0%} of the tuned weights, the rest as they were{again}. "
        f"Next: {next_command}"
    )


def _number(count: int, what: str) -> str:
    """So many of them, in words."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what}s"
