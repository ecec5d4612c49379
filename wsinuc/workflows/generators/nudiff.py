"""The two trainings of method B (Yu et al. 2023): a generator of structures, and one of images for given structures.

Stage 1 learns what arrangements and shapes of nuclei look like, without tissue; stage 2 learns to paint tissue over a
structure. Together they make images whose nuclei are known to the pixel.

Stage 2 has two phases. In the first every image comes with its structure; in the second, at a lower
rate, some do not, which is what guidance needs. Both are one run, so that it resumes as one.

Crop k, its noise, its timestep and whether its structure is left out depend on the seed and k
alone: an interrupted training ends with the weights of an uninterrupted one. Structures are
computed from the labels *after* augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.generators import IMAGE, STRUCTURE, adopt
from wsinuc.models.devices import on_device
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.mean_levels import MeanLevels
from wsinuc.models.diffusion.schedules import named_betas
from wsinuc.models.training.loop import Inspection
from wsinuc.models.training.state import read_log
from wsinuc.own_files import check_place
from wsinuc.workflows.data.training_set import NUCLEUS, check_whole, count_nuclei, identity_of
from wsinuc.workflows.generators.config import CHANNELS, GeneratorConfig
from wsinuc.workflows.generators.nudiff_examples import ExampleLoss, crops_of, example
from wsinuc.workflows.generators.report import CONDITIONS, GUIDANCE, build_generator, image_page, structure_page
from wsinuc.workflows.training.files import sample_pages
from wsinuc.workflows.training.held_out import SEED, set_apart
from wsinuc.workflows.training.run import UNATTENDED, Session, Training, origin_of, run_training

_EXAMPLES = 256  # that mean levels are measured on
_SMALL = 0.03  # share of the nuclei that are smaller than what counts as one
_PAGE_SEED = 104_729  # added to the seed of the crops on pages of samples


def train_generator(
    kind: str,
    images: Sequence[LabelledImage],
    out: Path,
    config: GeneratorConfig,
    *,
    init: Path | None = None,
    provenance: dict[str, Any] | None = None,
    session: Session = UNATTENDED,
) -> None:
    """Train one of the two networks on annotated images, each with its own mpp, and write its
    averaged weights to ``out``.

    Beside ``out`` lie the state (``.state``) that lets the same call continue an interrupted training, the log
    (``.jsonl``) and its curves (``.png``), and pages of samples (``.samples``), one at the end.

    Parameters
    ----------
    kind
        ``nudiff-structure`` or ``nudiff-image``; must be that of the settings.
    init
        A denoiser or another generator; every tensor of it whose name and shape fit is taken over.
    provenance
        What to record of the data: names, licences, the command.
    session
        Where the training runs, who hears of it and who may stop it.

    Raises
    ------
    CheckpointError
        The state is of another training, or the first weights are of another width or no denoiser.
    ConfigError
        The settings are of the other kind, or the batch cannot be shared out to the processes.
    DataError
        There are no images or no nuclei, or labels are no integers.
    DeviceMemoryError
        The device's memory is too small; it says which batch size fits.
    OutputError
        ``out`` lies in no folder.
    TrainingError
        The loss is no number any more.
    """
    check_whole(images)
    learned, held_out = set_apart(images, config.held_out, config.seed)
    data = identity_of(images)
    measured = [images[i] for i in held_out]
    images = [images[i] for i in learned]
    _check(kind, images, out, config)
    # Right before the network: its first weights depend on nothing that was drawn earlier.
    torch.manual_seed(config.seed)
    process = GaussianDiffusion(named_betas(config.betas))
    levels = mean_levels(images, config)
    network = build_generator(config)
    start = _start(network, init) if init else {}
    on_device(network, session.device).train()
    origin = _origin(config, images, start) | (provenance or {})

    def checkpoint(average: dict[str, Tensor]) -> Checkpoint:
        # Fewer than planned where it was stopped.
        steps = int(read_log(out.with_suffix(".jsonl"))[-1]["step"])
        header = _header(config, steps, levels, images)
        return Checkpoint(kind=kind, config=header, provenance=origin, tensors=average)

    apart = None
    if config.validate_every:
        still = replace(config, seed=config.seed + SEED, drop_rate=0.0, augmentation=Augmentation(zoom=1.0, stain=0.0))
        apart = ExampleLoss(network, process, still, measured, session)
    training = Training(
        network=network,
        loss=ExampleLoss(network, process, config, images, session),
        data=data,
        held_out=apart,
        checkpoint=checkpoint,
        inspections=[_sampling(network, process, config, images, levels, out)],
        start_sha256=start.get("sha256", ""),
    )
    run_training(training, out, config, session)


def mean_levels(images: Sequence[LabelledImage], config: GeneratorConfig) -> MeanLevels:
    """Mean levels of the first examples of a training, which its samples are to have."""
    crops = crops_of(images, config, config.seed).batch(0, _EXAMPLES)
    return MeanLevels.of(torch.from_numpy(np.stack([example(crop, config)[:CHANNELS] for crop in crops])))


def smallest_nucleus(images: Sequence[LabelledImage]) -> float:
    """Area in um2 that all but a few (`_SMALL`) of the whole nuclei exceed; 0 where none is whole.

    What a generator draws below it is a fragment rather than a nucleus.
    """
    areas = [_whole_areas(image.labels) * image.mpp**2 for image in images]
    # The empty array lets a set without images pass.
    joined = np.concatenate([*areas, np.zeros(0)])
    if joined.size:
        return float(np.quantile(joined, _SMALL))
    return 0.0


def _whole_areas(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Pixels of each nucleus that the image's border does not cut."""
    areas = np.bincount(labels.ravel()).astype(np.float64)
    # A nucleus at the border may be cut, so its area says nothing; 0 is the background.
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1], [0]):
        areas[edge] = 0
    return areas[areas > 0]


def _check(kind: str, images: Sequence[LabelledImage], out: Path, config: GeneratorConfig) -> None:
    check_place(out)
    if config.kind != kind:
        raise ConfigError(f"these are settings of a {config.kind}, but a {kind} is to be trained: take its preset")
    if images and not any(sample.labels.any() for sample in images):
        raise DataError("no annotated nucleus to learn from: check the data set's labels and filters")


def _start(network: nn.Module, path: Path) -> dict[str, Any]:
    """Load first weights into the network; what to remember of them."""
    given = load_checkpoint(path, "denoiser", STRUCTURE, IMAGE)
    fitting = adopt(network, given.tensors)
    return {
        "sha256": given.sha256,
        "name": path.name,
        "kind": given.kind,
        "tensors": fitting,
        "of": len(network.state_dict()),
    }


def count_adopted(config: GeneratorConfig, init: Path) -> tuple[int, int]:
    """How many of the network's tensors ``init`` would give, and how many there are; raises
    CheckpointError for none."""
    start = _start(build_generator(config), init)
    return start["tensors"], start["of"]


def _sampling(
    network: nn.Module,
    process: GaussianDiffusion,
    config: GeneratorConfig,
    images: Sequence[LabelledImage],
    levels: MeanLevels,
    out: Path,
) -> Inspection:
    """The pages of samples."""

    def draw(step: int) -> NDArray[np.uint8]:
        if config.kind == STRUCTURE:
            return structure_page(network, process, config, levels)
        crops = crops_of(images, config, config.seed + _PAGE_SEED).batch(0, CONDITIONS)
        guidance: tuple[float, ...] = (0.0,)
        if _dropped(config, step):
            guidance = (0.0, GUIDANCE)
        shown = np.stack([example(crop, config) for crop in crops])
        return image_page(network, process, config, shown, guidance, levels)

    return sample_pages(draw, out, every=config.sample_every or config.images_seen, batch=config.batch)


def _dropped(config: GeneratorConfig, done: int) -> bool:
    """Whether a training of so many steps has seen images without their structure."""
    return config.drop_rate > 0 and done > config.drop_from


def _header(config: GeneratorConfig, done: int, levels: MeanLevels, images: Sequence[LabelledImage]) -> dict[str, Any]:
    """The checkpoint's config after so many steps."""
    header: dict[str, Any] = {
        "network": asdict(config.network),
        "betas": config.betas,
        "steps": len(named_betas(config.betas)),
        "mpp": config.mpp,
        "size": config.patch,
        "classes": [asdict(NUCLEUS)],
        "smallest_px": config.smallest_px,
        "learned_variance": config.learned_variance,
        "levels": levels.header(),
    }
    if config.kind == IMAGE:
        if _dropped(config, done):
            header["drop_rate"] = config.drop_rate
        else:
            header["drop_rate"] = 0.0
    if config.kind == STRUCTURE:
        header["smallest_um2"] = smallest_nucleus(images)
    return header


def _origin(config: GeneratorConfig, images: Sequence[LabelledImage], start: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from."""
    return origin_of(
        config,
        images=[sample.name for sample in images],
        nuclei=count_nuclei(images),
        init=start or None,
    )
