"""``wsinuc pretrain --method cosyn``: a joint generator of images and labels from annotated images.

Method C (Min, Oh, Jeong 2024). Example k, its noise, its time and whether its text is withheld
depend on the seed and k alone. So an interrupted training ends with the weights of an uninterrupted
one, and neither passes nor processes change what is learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.cosyn import KIND, TEXT_PREFIX, network_config, read_cosyn
from wsinuc.models.conditioning.text import TextEncoder, TextTokens
from wsinuc.models.conditioning.text_encoders import own_tensors
from wsinuc.models.devices import on_device
from wsinuc.models.diffusion.joint import JointDiffusion, JointNoise, JointUnit
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.networks.cosyn_unet import CoSynConfig, CoSynUNet
from wsinuc.models.pixels import to_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import check_place
from wsinuc.synthesis.point_process import PointProcess
from wsinuc.workflows.data.training_set import check_annotation, check_whole, identity_of
from wsinuc.workflows.generators.cosyn_config import PRESETS, CoSynTrainConfig
from wsinuc.workflows.generators.cosyn_data import JointExample, JointExamples, as_unit, layouts_by_tissue
from wsinuc.workflows.generators.cosyn_report import JointGenerator, sample_page
from wsinuc.workflows.generators.cosyn_words import encoder_of
from wsinuc.workflows.training.files import sample_pages
from wsinuc.workflows.training.held_out import SEED, set_apart
from wsinuc.workflows.training.run import UNATTENDED, Session, Training, origin_of, run_training, take_weights
from wsinuc.workflows.training.step_loss import StepLoss

__all__ = ["PRESETS", "CoSynTrainConfig", "train_cosyn"]

_LEVELS = 256  # images that mean levels are measured on


def train_cosyn(
    images: Sequence[LabelledImage],
    classes: tuple[NucleusClass, ...],
    out: Path,
    config: CoSynTrainConfig,
    *,
    text_encoder: TextEncoder | None = None,
    weights: Sequence[float] | None = None,
    init: Path | None = None,
    provenance: dict[str, Any] | None = None,
    session: Session = UNATTENDED,
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
    session
        Where the training runs, who hears of it and who may stop it.

    Raises
    ------
    CheckpointError
        The state is of another training, or ``init`` does not fit.
    ConfigError
        The batch cannot be shared out to the processes, or a text encoder is given to a training without text.
    DataError
        There are no images, classes beyond ``classes``, the tissue's column is missing, or a tissue is given to
        images that name their own.
    DeviceMemoryError
        The device's memory is too small; it says which batch size fits.
    OutputError
        ``out`` lies in no folder.
    TrainingError
        The loss is no number any more.
    """
    check_place(out)
    check_annotation(images, classes)
    check_whole(images)
    torch.manual_seed(config.seed)
    # From all images, so that it knows the words of the held-out ones, too.
    encoder = encoder_of(images, classes, config, text_encoder)
    learned, held_out = set_apart(images, config.held_out, config.seed)
    drawn = None if weights is None else [weights[i] for i in learned]
    examples = JointExamples.of([images[i] for i in learned], classes, config, drawn)
    shape = joint_shape(config, classes, encoder)
    network = on_device(CoSynUNet(shape), session.device).train()
    model = JointGenerator(network, JointDiffusion.of(shape.classes, config.steps), encoder)
    start = _start(network, init) if init else {}
    # Before the training, so that what fails here does not fail after days.
    facts = _learned_facts([images[i] for i in learned], examples, config) if session.processes.main else {}
    levels = mean_levels(examples)
    origin = {"images": len(images), **start, **(provenance or {})}

    def checkpoint(average: dict[str, Tensor]) -> Checkpoint:
        header = facts | _header(model, classes, levels, config)
        words = {TEXT_PREFIX + name: value for name, value in own_tensors(encoder).items()}
        origin_now = origin_of(config, **origin)
        return Checkpoint(kind=KIND, config=header, provenance=origin_now, tensors=average | words)

    def draw(step: int) -> NDArray[np.uint8]:
        return sample_page(model, examples, config, levels)

    training = Training(
        network=model.network,
        loss=JointStepLoss(model, examples, config, session),
        data=identity_of(images, weights),
        held_out=_held_out_loss(model, [images[i] for i in held_out], classes, config, session),
        checkpoint=checkpoint,
        inspections=[sample_pages(draw, out, every=config.sample_every or config.images_seen, batch=config.batch)],
        start_sha256=start.get("init", ""),
        curve="joint loss",
    )
    run_training(training, out, config, session)


def _held_out_loss(
    model: JointGenerator,
    images: Sequence[LabelledImage],
    classes: Sequence[NucleusClass],
    config: CoSynTrainConfig,
    session: Session,
) -> JointStepLoss | None:
    """The loss of images that are not learned from; None where it is not measured."""
    if not config.validate_every:
        return None
    # Nothing is left to chance in what is measured: the loss moves with the weights alone.
    still = replace(config, seed=config.seed + SEED, drop_text=0.0, zoom=1.0, stain=0.0)
    return JointStepLoss(model, JointExamples.of(images, classes, still), still, session)


def mean_levels(examples: JointExamples) -> MeanLevels:
    """Mean levels of the first images of a training, which its samples are to have."""
    images = np.stack([crop.image for crop in examples.crops.batch(0, _LEVELS)])
    return MeanLevels.of(to_network(images))


def joint_shape(config: CoSynTrainConfig, classes: Sequence[NucleusClass], encoder: TextEncoder) -> CoSynConfig:
    """The shape of the network for these classes, background besides, and this encoder."""
    points = None if "points" in config.without else config.network.points
    return replace(config.network, classes=len(classes) + 1, text_width=encoder.width, points=points)


def check_start(
    init: Path,
    images: Sequence[LabelledImage],
    classes: Sequence[NucleusClass],
    config: CoSynTrainConfig,
    text_encoder: TextEncoder | None = None,
) -> None:
    """Whether a training can start from this generator; raises CheckpointError where it cannot."""
    encoder = encoder_of(images, classes, config, text_encoder)
    _start(CoSynUNet(joint_shape(config, classes, encoder)), init)


def _learned_facts(
    images: Sequence[LabelledImage], examples: JointExamples, config: CoSynTrainConfig
) -> dict[str, Any]:
    """What a synthesis needs to know of the images: words for tissues, and where nuclei lie or what crops show."""
    tissues = sorted({tissue for tissue, _ in examples.tissues if tissue})
    if "points" in config.without:
        return {"tissues": tissues, "layouts": {}, "prompts": _common_prompts(examples)}
    return {"tissues": tissues, "layouts": _fitted_layouts(images, config)}


def _common_prompts(examples: JointExamples) -> list[dict[str, Any]]:
    """Which tissue, stain and classes the first examples show, and how many of them show the same."""
    counts = Counter(examples.example(number).prompt for number in range(_LEVELS))
    return [{**asdict(prompt), "count": count} for prompt, count in counts.most_common()]


def _fitted_layouts(images: Sequence[LabelledImage], config: CoSynTrainConfig) -> dict[str, Any]:
    """The point process of each tissue that shows a nucleus, from which new layouts can be drawn."""
    return {
        tissue: PointProcess.fit(layouts, config.mpp, seed=config.seed).to_json()
        for tissue, layouts in layouts_by_tissue(images, config).items()
        # A point process without a point has nothing to fit.
        if any(len(layout.points) for layout in layouts)
    }


def _header(
    model: JointGenerator, classes: Sequence[NucleusClass], levels: MeanLevels, config: CoSynTrainConfig
) -> dict[str, Any]:
    """The checkpoint's config, apart from what is learned of the images."""
    return {
        "network": network_config(model.network.config),
        "steps": config.steps,
        "mpp": config.mpp,
        "size": config.patch,
        "classes": [asdict(each) for each in classes],
        "text": model.encoder.config(),
        "levels": levels.header(),
        "tissue_column": config.tissue_column,
        "drop_rate": 0.0 if "text" in config.without else config.drop_text,
        "without": list(config.without),
    }


def _start(network: CoSynUNet, path: Path) -> dict[str, str]:
    """Load first weights into the network; what to remember of them."""
    checkpoint, trained = read_cosyn(path)
    remedy = "use the preset, classes and text encoder it was made with"
    take_weights(network, trained.state_dict(), path, "generator", remedy)
    return {"init": checkpoint.sha256, "init_name": path.name}


class JointStepLoss(StepLoss[list[JointExample]]):
    """Mean loss of the examples of part k; example i of step s is number s * batch + i in all."""

    def __init__(
        self, model: JointGenerator, examples: JointExamples, config: CoSynTrainConfig, session: Session
    ) -> None:
        self.network = model.network
        self.process = model.process
        self.encoder = model.encoder
        self.examples = examples
        self.config = config
        super().__init__(config, session)

    def cut(self, part: int) -> list[JointExample]:
        """The examples of a part."""
        return [self.examples.example(number) for number in self.numbers(part)]

    def __call__(self, part: int) -> Tensor:
        examples = self.batch(part)
        clean, points = as_unit(examples)
        draws = [self._draw(number) for number in self.numbers(part)]
        # Each example has its own generator, so it is the same in a batch of any size.
        times, shown, noises = zip(*draws, strict=True)
        text = self.encoder([example.prompt for example in examples])
        # Hidden text is masked, not removed: one batch holds examples with and without.
        text = TextTokens(text.tokens, text.mask & torch.tensor(shown)[:, None])
        return self._loss(clean, points, text, torch.cat(times), list(noises))

    def _draw(self, number: int) -> tuple[Tensor, bool, JointNoise]:
        """Time, whether the text is shown, and noise of example ``number``."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_000_007 + number)
        time = self.process.draw_times(1, generator)
        shown = bool(torch.rand(1, generator=generator) >= self.config.drop_text)
        size = (self.config.patch, self.config.patch)
        return time, shown, JointNoise.draw(self.process.label.classes, size, generator)

    def trial(self, count: int) -> Tensor:
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
        points = points.to(on)
        text = TextTokens(text.tokens.to(on), text.mask.to(on))
        return self.process.loss(
            lambda unit, log_snr: self.network(unit, log_snr, points, text),
            clean.to(on),
            times,
            JointNoise.stack(noises, on),
            self.config.weights,
        ).total.mean()
