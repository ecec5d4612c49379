"""``wsinuc pretrain --method nudiff-structure|nudiff-image|cosyn``: what generates annotated
images, from annotated images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsinuc_cli.next_command import next_command
from wsinuc_cli.terminal import echo
from wsinuc_cli.training_progress import telling, training_reports

if TYPE_CHECKING:
    from wsinuc.workflows.data.training_set import TrainingSet

FREE = ("mpp", "batch", "patch", "held_out", "validate_every", "sample_every", "seed", "drop_rate")
"""Options that are settings of every config under the same name."""


def pretrain_generator(
    method: str,
    sources: tuple[str, ...],
    output: Path,
    preset: str,
    *,
    init: Path | None,
    device: str,
    dry_run: bool,
    log: Path | None,
    **options: Any,
) -> None:
    """Train one of the three generators on data sets; the options are those of ``wsinuc pretrain``."""
    from wsinuc.models.devices import pick_device
    from wsinuc.models.training.processes import launched_processes

    config = configured(method, preset, **options)
    processes = launched_processes(cpu=device == "cpu")
    chosen = str(processes.device or pick_device(device))
    data = _training_set(sources, options)
    if processes.main:
        _describe(method, data, config, chosen, processes.count, init)
    if dry_run:
        return
    drawn = None if data.drawn is None else output.with_suffix(".split.json")
    if data.drawn is not None and drawn is not None and processes.main:
        data.drawn.save(drawn)
    shared: dict[str, Any] = {
        "device": chosen,
        "init": init,
        "provenance": {"data": list(data.origin), "preset": preset},
        "processes": processes,
    }
    with telling(log, bars=None if processes.main else False) as tell:
        shared["on_progress"] = training_reports(tell, method, config.fit.steps)
        if method == "cosyn":
            from wsinuc.workflows.generators.cosyn import train_cosyn

            train_cosyn(data.images, data.classes, output, config, **shared)
        else:
            from wsinuc.workflows.generators.nudiff import train_generator

            train_generator(method, data.images, output, config, **shared)
    if processes.main:
        echo(f"Written to {output}. Next: {next_command(method, output, sources, preset, drawn, options)}")


def configured(
    method: str,
    preset: str,
    *,
    steps: int | None = None,
    images_seen: int | None = None,
    base: int | None = None,
    learn_variance: bool = False,
    **options: Any,
) -> Any:
    """The method's preset with the options that were given; raises ConfigError."""
    from wsinuc.errors import ConfigError

    if steps and images_seen:
        raise ConfigError("--steps and --images-seen say the same: give one of them")
    given = {name: options[name] for name in FREE if options.get(name) is not None}
    start = _presets(method)[preset]
    if images_seen:
        steps = max(1, images_seen // given.get("batch", start.batch))
    if steps:
        start = start.lasting(steps) if method != "cosyn" else dataclasses.replace(start, fit=_fit(start, steps=steps))
    network = {
        name: value for name, value in {"base": base, "out_channels": 6 if learn_variance else None}.items() if value
    }
    return dataclasses.replace(
        start,
        network=dataclasses.replace(start.network, **network),
        fit=_fit(start, lr=options.get("lr"), accumulate=options.get("accumulate")),
        **given,
    )


def _fit(config: Any, **changes: Any) -> Any:
    return dataclasses.replace(config.fit, **{name: value for name, value in changes.items() if value is not None})


def _presets(method: str) -> dict[str, Any]:
    if method == "cosyn":
        from wsinuc.workflows.generators.cosyn_config import PRESETS

        return dict(PRESETS)
    from wsinuc.workflows.generators.config import IMAGE_PRESETS, STRUCTURE_PRESETS

    return dict(IMAGE_PRESETS if method == "nudiff-image" else STRUCTURE_PRESETS)


def _training_set(sources: tuple[str, ...], options: dict[str, Any]) -> TrainingSet:
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set

    selection = ImageSelection(
        wanted=parse_conditions(options["wanted"]),
        unwanted=parse_conditions(options["unwanted"]),
        **{name: options[name] for name in ("split", "part", "fraction", "seed")},
    )
    chosen = gather_training_set(sources, mpp=options["file_mpp"], selection=selection)
    for note in chosen.notes:
        echo(f"Note: {note}")
    return chosen


def _describe(method: str, data: TrainingSet, config: Any, device: str, processes: int, init: Path | None) -> None:
    """What is trained, on what, and what it takes."""
    nuclei = sum(len(set(image.labels[image.labels > 0].tolist())) for image in data.images)
    field = config.patch * config.mpp
    patches = sum(image.labels.size * image.mpp**2 for image in data.images) / field**2
    echo(
        f"{method}: {len(data.images)} images, {nuclei:,} nuclei, {patches:,.0f} patches of {config.patch} px at "
        f"{config.mpp:g} um/px side by side"
    )
    if method != "cosyn":
        from wsinuc.workflows.generators.nudiff import count_adopted
        from wsinuc.workflows.generators.report import estimate_generator

        takes = estimate_generator(config, processes)
        echo(
            f"network of {takes.parameters / 1e6:.1f} M parameters, {takes.flops_per_step / 1e12:.2f} TFLOP "
            "per step, about "
            f"{takes.memory_bytes / 2**30:.1f} GiB on the device"
        )
        if init is not None:
            taken, of = count_adopted(config, init)
            echo(f"starts from {init.name}: {taken} of {of} tensors fit")
    echo(f"{config.fit.steps} steps of {config.batch} patches: {config.images_seen:,} images on {device}")
