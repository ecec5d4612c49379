"""``wsinuc pretrain --method cosyn``: a joint generator of images and labels from annotated images.

Method C (Min, Oh, Jeong 2024). Example k, its noise, its time and whether its text is withheld
depend on the seed and k alone. So an interrupted training ends with the weights of an uninterrupted
one, and neither passes nor processes change what is learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import wsinuc
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.patches import Prefetcher
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.cosyn import KIND, network_config, read_cosyn
from wsinuc.models.conditioning.text import TextEncoder, TextTokens
from wsinuc.models.conditioning.text_encoders import TemplateEncoder
from wsinuc.models.diffusion.joint import JointDiffusion, JointNoise, JointUnit
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.networks.cosyn_unet import CoSynUNet
from wsinuc.models.pixels import to_network
from wsinuc.models.training.loop import Inspection, Progress, fit, part_size
from wsinuc.models.training.processes import ALONE, Processes
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.regular import require_parent
from wsinuc.synthesis.point_process import PointProcess
from wsinuc.synthesis.prompts import Vocabulary
from wsinuc.workflows.data.training_set import check_annotation
from wsinuc.workflows.denoiser.held_out import SEED, held_out_loss, set_apart
from wsinuc.workflows.denoiser.report import draw_training, write_png
from wsinuc.workflows.generators.cosyn_config import PRESETS, CoSynTrainConfig
from wsinuc.workflows.generators.cosyn_data import JointExample, JointExamples, as_unit, layouts_by_tissue
from wsinuc.workflows.generators.cosyn_report import sample_page

__all__ = ["PRESETS", "CoSynTrainConfig", "train_cosyn"]

_THREADS = 4  # that cut patches while a GPU computes
_LEVELS = 256  # images that mean levels are measured on


def train_cosyn(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    out: Path,
    config: CoSynTrainConfig,
    *,
    device: str = "cpu",
    text_encoder: TextEncoder | None = None,
    weights: Sequence[float] | None = None,
    init: Path | None = None,
    provenance: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
) -> None:
    """Train a joint generator and write its averaged weights to ``out``, a checkpoint of kind ``cosyn``.

    Beside ``out`` lie: the state (``.state``) that lets the same call continue an interrupted
    training, and make a finished one longer; the log (``.jsonl``) and its curve (``.png``); a
    folder of sample pages (``.samples``), each row a layout, its label, distance map and image.

    Parameters
    ----------
    classes
        What a nucleus can be, in the order of the images' class numbers; ``(NUCLEUS,)`` for images without classes.
    text_encoder
        Reads the prompts; by default the built-in one, with the tissues, stains and classes of
        these images as its words.
    weights
        How often each image is drawn; None draws by area.
    init
        A checkpoint of kind ``cosyn`` of the same shape to start from.

    Raises
    ------
    CheckpointError
        The state is of another training, or ``init`` does not fit.
    ConfigError
        The batch cannot be shared out to the processes.
    DataError
        There are no images, classes beyond ``classes``, or the tissue's column is missing.
    DeviceMemoryError
        The device's memory is too small; it says which batch size fits.
    OutputError
        ``out`` lies in no folder.
    TrainingError
        The loss is no number any more.
    """
    require_parent(out)
    check_annotation(images, classes)
    torch.manual_seed(config.seed)
    encoder = text_encoder or _built_in_encoder(JointExamples.of(images, classes, config))  # held-out words too
    indices = set_apart(images, config.held_out, config.seed)
    learned, held_out = ([images[i] for i in part] for part in indices)
    drawn = None if weights is None else [weights[i] for i in indices[0]]
    examples = JointExamples.of(learned, classes, config, drawn)
    shape = dataclasses.replace(config.network, classes=len(classes) + 1, text_width=encoder.width)
    process = JointDiffusion.of(shape.classes, config.steps)
    network = CoSynUNet(shape).to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    started_from = _start(network, init) if init else {}
    layouts = (
        _fitted_layouts(learned, config) if processes.main else {}
    )  # first: what fails here fails before the training

    levels = mean_levels(examples)

    def draw_samples(step: int) -> None:
        page = sample_page(network, process, examples, encoder, config, device, levels)
        write_png(page, out.with_suffix(".samples") / f"{step * config.batch:010d}.png")

    every = config.sample_every or config.images_seen
    with ExitStack() as stack:
        step_loss = _StepLoss(network, process, examples, encoder, config, device, processes, stack)
        inspections = [Inspection(max(1, every // config.batch), draw_samples)]
        if config.validate_every:
            still = dataclasses.replace(config, seed=config.seed + SEED, drop_text=0.0, zoom=1.0, stain=0.0)
            apart = JointExamples.of(held_out, classes, still)
            measured = _StepLoss(network, process, apart, encoder, still, device, processes, stack)
            inspections.append(held_out_loss(measured, measured.size, still, device))
        average = fit(
            network,
            step_loss,
            config.fit,
            state=out.with_suffix(".state"),
            on_progress=on_progress,
            should_stop=should_stop,
            images=config.batch,
            settings=config.identity() | {"init": started_from.get("init", "")},
            inspections=inspections,
            processes=processes,
            trial=step_loss.trial,
        )
    if processes.main:
        figures = {"images": len(images), **started_from, **(provenance or {})}
        save_checkpoint(_checkpoint(network, average, classes, encoder, layouts, levels, config, figures), out)
        draw_training(out.with_suffix(".jsonl"), out.with_suffix(".png"), loss="joint loss")


def mean_levels(examples: JointExamples) -> MeanLevels:
    """Mean levels of the first images of a training, which its samples are to have."""
    images = np.stack([crop.image for crop in examples.crops.batch(0, _LEVELS)])
    return MeanLevels.of(to_network(images))


def _built_in_encoder(examples: JointExamples) -> TextEncoder:
    """The template's encoder with the words of the training data."""
    tissues, stains = (tuple(sorted(set(words))) for words in zip(*examples.tissues, strict=True))
    return TemplateEncoder(
        Vocabulary(
            tissues=() if tissues == ("",) else tissues,
            stains=() if stains == ("",) else stains,
            classes=tuple(c.name for c in examples.classes),
        )
    )


def _fitted_layouts(images: Sequence[LabelledImage], config: CoSynTrainConfig) -> dict[str, Any]:
    """The point process of each tissue that shows a nucleus, from which new layouts can be drawn."""
    return {
        tissue: PointProcess.fit(layouts, config.mpp, seed=config.seed).to_json()
        for tissue, layouts in layouts_by_tissue(images, config).items()
        if any(len(layout.points) for layout in layouts)
    }


def _checkpoint(
    network: CoSynUNet,
    average: dict[str, Tensor],
    classes: Sequence[NucleusClass],
    encoder: TextEncoder,
    layouts: dict[str, Any],
    levels: MeanLevels,
    config: CoSynTrainConfig,
    provenance: dict[str, Any],
) -> Checkpoint:
    return Checkpoint(
        kind=KIND,
        config={
            "network": network_config(network.config),
            "steps": config.steps,
            "mpp": config.mpp,
            "size": config.patch,
            "classes": [{"name": c.name, "color": list(c.color)} for c in classes],
            "text": encoder.config(),
            "layouts": layouts,
            "levels": levels.header(),
            "tissue_column": config.tissue_column,
            "drop_rate": config.drop_text,
        },
        provenance={
            "wsinuc": wsinuc.__version__,
            "torch": torch.__version__,
            "training": dataclasses.asdict(config),
            **provenance,
        },
        tensors=average,
    )


def _start(network: CoSynUNet, path: Path) -> dict[str, str]:
    """Load first weights into the network; what to remember of them."""
    checkpoint, trained = read_cosyn(path)
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{path} is a generator of another shape ({reason}): use the preset, classes and text encoder it "
            "was made with"
        ) from error
    return {"init": checkpoint.sha256, "init_name": path.name}


class _StepLoss:
    """Mean loss of part k of the training; example i of step s is number s * batch + i in all."""

    def __init__(
        self,
        network: CoSynUNet,
        process: JointDiffusion,
        examples: JointExamples,
        encoder: TextEncoder,
        config: CoSynTrainConfig,
        device: str,
        processes: Processes,
        stack: ExitStack,
    ) -> None:
        self.network, self.process, self.encoder = network, process, encoder
        self.config, self.device, self.size = config, device, part_size(config.batch, config.fit, processes)
        self.examples: Callable[[int], list[JointExample]] = lambda part: [
            examples.example(k) for k in self._numbers(part)
        ]
        if torch.device(device).type != "cpu":
            ahead = Prefetcher(self.examples, threads=_THREADS, stride=processes.count)
            stack.callback(ahead.close)
            self.examples = ahead

    def _numbers(self, part: int) -> range:
        return range(part * self.size, (part + 1) * self.size)

    def __call__(self, part: int) -> Tensor:
        examples = self.examples(part)
        clean, points = as_unit(examples)
        draws = [self._draw(number) for number in self._numbers(part)]
        times, kept, noises = zip(*draws, strict=True)
        text = self.encoder([example.prompt for example in examples])
        text = TextTokens(text.tokens, text.mask & torch.tensor(kept)[:, None])
        return self._loss(clean, points, text, torch.cat(times), list(noises))

    def _draw(self, number: int) -> tuple[Tensor, bool, JointNoise]:
        """Time, whether the text is shown, and noise of example ``number``."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_000_007 + number)
        time = self.process.draw_times(1, generator)
        shown = bool(torch.rand(1, generator=generator) >= self.config.drop_text)
        size = (self.config.patch, self.config.patch)
        return time, shown, JointNoise.draw(self.process.label.classes, size, generator)

    def trial(self, count: int) -> Tensor:
        """Loss of ``count`` images of nothing: what matters is the memory it takes."""
        size = (self.config.patch, self.config.patch)
        points = torch.zeros((count, *size), dtype=torch.long)
        clean = JointUnit(torch.zeros(count, 3, *size), torch.zeros(count, 1, *size), points)
        text = TextTokens(torch.zeros(count, 1, self.encoder.width), torch.ones(count, 1, dtype=torch.bool))
        noises = [JointNoise.draw(self.process.label.classes, size, torch.Generator())] * count
        return self._loss(clean, points, text, torch.full((count,), 0.5, dtype=torch.float64), noises)

    def _loss(
        self, clean: JointUnit, points: Tensor, text: TextTokens, times: Tensor, noises: list[JointNoise]
    ) -> Tensor:
        on = self.device
        points, text = points.to(on), TextTokens(text.tokens.to(on), text.mask.to(on))
        return self.process.loss(
            lambda unit, log_snr: self.network(unit, log_snr, points, text),
            clean.to(on),
            times,
            JointNoise.stack(noises, on),
            self.config.weights,
        ).total.mean()
