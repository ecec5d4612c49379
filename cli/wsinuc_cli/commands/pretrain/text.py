"""``wsinuc pretrain --method text-encoder``: what reads the prompts of a joint generator, from annotated images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsinuc_cli.commands.pretrain.generators import WHICH
from wsinuc_cli.options.images import gather
from wsinuc_cli.progress.training import telling, training_reports
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import after_text
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.workflows.generators.text_config import TextTrainConfig


def pretrain_text(
    sources: tuple[str, ...], output: Path, preset: str, config: TextTrainConfig, options: dict[str, Any]
) -> None:
    """Train a text encoder, or say what that takes; the options are those of ``wsinuc pretrain``."""
    from wsinuc.models.devices import pick_device
    from wsinuc.workflows.generators.cost import estimate_text
    from wsinuc.workflows.generators.text_encoder import train_text_encoder, words_of
    from wsinuc.workflows.training.cost import cost_of_steps
    from wsinuc.workflows.training.run import Session

    device = str(pick_device(options["device"]))
    data = gather(sources, {name: options[name] for name in WHICH})
    steps = config.fit.steps
    text = f"{steps} steps of {config.batch} patches: {config.images_seen:,} images on {device}"
    echo(f"text-encoder: {len(data.images)} images; {words_of(data.images, data.classes, config).vocabulary.words}")
    echo_cost(cost_of_steps(estimate_text(config, data.images, data.classes), steps, text))
    if options["dry_run"]:
        return
    with telling(options["log"]) as tell:
        session = Session(device=device, on_progress=training_reports(tell, "text-encoder", steps))
        provenance = {"data": list(data.origin), "preset": preset}
        train_text_encoder(data.images, data.classes, output, config, provenance=provenance, session=session)
    echo(f"Written to {output}. Next: {after_text(output, sources, options)}")
