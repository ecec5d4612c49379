"""``wsinuc pretrain --method nudiff-structure|nudiff-image|cosyn``: what generates annotated
images, from annotated images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsinuc_cli.options.images import gather
from wsinuc_cli.progress.training import telling, training_reports
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import next_command
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.models.conditioning.text import TextEncoder
    from wsinuc.workflows.data.training_set import TrainingSet
    from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig

WHICH = ("mpp", "wanted", "unwanted", "split", "part", "fraction", "seed", "regions")
"""Options that choose images; ``--patch`` is none of them, but the side of what is trained on."""


def pretrain_generator(
    method: str, sources: tuple[str, ...], output: Path, preset: str, config: Any, options: dict[str, Any]
) -> None:
    """Train one of the three generators, or say what that takes; the options are those of ``wsinuc pretrain``."""
    from wsinuc.models.devices import pick_device
    from wsinuc.models.training.processes import launched_processes
    from wsinuc.workflows.training.run import Session

    processes = launched_processes(cpu=options["device"] == "cpu")
    device = str(processes.device or pick_device(options["device"]))
    data = gather(sources, {name: options[name] for name in WHICH})
    init = options["init"]
    text_encoder = _text_encoder(options["text_encoder"])
    if processes.main:
        _describe(method, data, config, device, processes.count, text_encoder)
        _describe_start(method, data, config, init, text_encoder)
    if options["dry_run"]:
        return
    drawn = None
    if data.drawn is not None:
        drawn = output.with_suffix(".split.json")
    if data.drawn is not None and drawn is not None and processes.main:
        data.drawn.save(drawn)
    shared: dict[str, Any] = {"init": init, "provenance": {"data": list(data.origin), "preset": preset}}
    with telling(options["log"], bars=None if processes.main else False) as tell:
        report = training_reports(tell, method, config.fit.steps)
        shared["session"] = Session(device=device, on_progress=report, processes=processes)
        if method == "cosyn":
            from wsinuc.workflows.generators.cosyn import train_cosyn

            train_cosyn(data.images, data.classes, output, config, text_encoder=text_encoder, **shared)
        else:
            from wsinuc.workflows.generators.nudiff import train_generator

            train_generator(method, data.images, output, config, **shared)
    if processes.main:
        echo(f"Written to {output}. Next: {next_command(method, output, sources, preset, drawn, options)}")


def _text_encoder(path: Path | None) -> TextEncoder | None:
    """The encoder that the user names; raises CheckpointError, ConfigError."""
    if path is None:
        return None
    from wsinuc.models.conditioning.text_encoders import open_text_encoder

    return open_text_encoder(path)


def _describe(
    method: str, data: TrainingSet, config: Any, device: str, processes: int, text_encoder: TextEncoder | None
) -> None:
    """What is trained, on what, and what it takes."""
    from wsinuc.workflows.data.training_set import count_nuclei
    from wsinuc.workflows.generators.cost import estimate_generator, estimate_joint
    from wsinuc.workflows.training.cost import cost_of_steps

    field = config.patch * config.mpp
    patches = sum(image.labels.size * image.mpp**2 for image in data.images) / field**2
    echo(
        f"{method}: {len(data.images)} images, {count_nuclei(data.images):,} nuclei, "
        f"{patches:,.0f} patches of {config.patch} px at {config.mpp:g} um/px side by side"
    )
    text = f"{config.fit.steps} steps of {config.batch} patches: {config.images_seen:,} images on {device}"
    if method == "cosyn":
        takes = estimate_joint(config, data.images, data.classes, processes, text_encoder)
    else:
        takes = estimate_generator(config, processes)
    echo_cost(cost_of_steps(takes, config.fit.steps, text))
    if method == "cosyn":
        _describe_words(data, config)


def _describe_words(data: TrainingSet, config: CoSynTrainConfig) -> None:
    """What the generator does without, and which words its prompts have."""
    from wsinuc.workflows.generators.cosyn_words import built_in_encoder

    if config.without:
        echo(f"without {', '.join(config.without)}")
    if "text" not in config.without:
        echo(f"prompts know {built_in_encoder(data.images, data.classes, config).vocabulary.words}")


def _describe_start(
    method: str, data: TrainingSet, config: Any, init: Path | None, text_encoder: TextEncoder | None
) -> None:
    """What the training takes over from other weights; raises CheckpointError where they do not fit."""
    if init is None:
        return
    if method == "cosyn":
        from wsinuc.workflows.generators.cosyn import check_start

        check_start(init, data.images, data.classes, config, text_encoder)
        echo(f"starts from {init.name}, which fits")
        return
    from wsinuc.workflows.generators.nudiff import count_adopted

    fitting, count = count_adopted(config, init)
    echo(f"starts from {init.name}: {fitting} of {count} tensors fit")
