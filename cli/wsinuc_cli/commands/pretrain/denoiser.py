"""``wsinuc pretrain --method ddpm``: a denoiser from unlabelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsinuc_cli.progress.training import telling, training_reports
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.next_command import after_denoiser
from wsinuc_cli.texts.training_cost import echo_cost

if TYPE_CHECKING:
    from wsinuc.datasets.sampling.pixels import Pixels
    from wsinuc.workflows.data.sources import Choice
    from wsinuc.workflows.denoiser.config import PretrainConfig


def pretrain_denoiser(
    sources: tuple[str, ...], output: Path, preset: str, config: PretrainConfig, options: dict[str, Any]
) -> None:
    """Train a denoiser, or say what that takes; the options are those of ``wsinuc pretrain``."""
    from wsinuc.datasets.sampling.pixels import PixelCache
    from wsinuc.models.devices import pick_device
    from wsinuc.models.training.processes import launched_processes
    from wsinuc.workflows.data.sources import open_sources
    from wsinuc.workflows.denoiser.run import pretrain as run
    from wsinuc.workflows.training.run import Session

    processes = launched_processes(cpu=options["device"] == "cpu")
    device = str(processes.device or pick_device(options["device"]))
    cache = PixelCache(round(options["memory"] * 2**30))
    choice = _choice(options)
    images = open_sources(
        sources, mpp=config.mpp, file_mpp=options["mpp"], cache=cache, choose=choice, regions=options["regions"]
    )
    choice.check()
    if processes.main:
        _describe(images, config, device, processes.count)
    if options["dry_run"]:
        _check_start(config, options["init"])
        return
    with telling(options["log"], bars=None if processes.main else False) as tell:
        run(
            images,
            output,
            config,
            init=options["init"],
            provenance=_provenance(sources, preset, options),
            session=Session(
                device=device,
                on_progress=training_reports(tell, "ddpm", config.fit.steps),
                processes=processes,
            ),
        )
    if processes.main:
        echo(f"Written to {output}. Next: {after_denoiser(output, sources, preset, options)}")


def _choice(options: dict[str, Any]) -> Choice:
    """Which images of the data sets among the sources are learned from; raises DataError."""
    from wsinuc.datasets.base import parse_conditions
    from wsinuc.datasets.sampling.split import Split
    from wsinuc.workflows.data.sources import Choice

    split = None
    if options["split"] is not None:
        split = Split.load(options["split"])
    wanted = parse_conditions(options["wanted"])
    return Choice(wanted, parse_conditions(options["unwanted"]), split=split, part=options["part"])


def _provenance(sources: tuple[str, ...], preset: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint says of its data."""
    provenance: dict[str, Any] = {"sources": [Path(source).name for source in sources], "preset": preset}
    for name in ("wanted", "unwanted"):
        if options[name]:
            provenance[name] = list(options[name])
    if options["split"]:
        provenance["split"] = options["split"].name
        provenance["part"] = options["part"]
    return provenance


def _check_start(config: PretrainConfig, init: Path | None) -> None:
    """Open the first weights; raises CheckpointError where they do not fit."""
    from wsinuc.workflows.denoiser.run import check_start

    if init is not None:
        check_start(config, init)
        echo(f"starts from {init.name}, which fits")


def _describe(images: list[Pixels], config: PretrainConfig, device: str, processes: int) -> None:
    """What is trained, on what, and what it takes."""
    from wsinuc.datasets.sampling.patches import area
    from wsinuc.datasets.sampling.pixels import SlidePixels
    from wsinuc.workflows.denoiser.report import estimate
    from wsinuc.workflows.training.cost import cost_of_steps

    slides = sum(isinstance(image, SlidePixels) for image in images)
    pixels = sum(area(image) for image in images)
    counted = f"{len(images) - slides} images"
    if slides:
        counted += f" and {slides} slides"
    echo(
        f"{counted}, {pixels / 1e6:.1f} Mpx at {config.mpp:g} um/px, {pixels / config.patch**2:,.0f} patches of "
        f"{config.patch} px side by side"
    )
    others = f", {processes} processes" if processes > 1 else ""
    text = f"{config.fit.steps} steps of {config.batch} patches: {config.images_seen:,} images on {device}{others}"
    echo_cost(cost_of_steps(estimate(config, processes), config.fit.steps, text))
