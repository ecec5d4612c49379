"""Which timesteps, decoder blocks and denoiser to take features from, asked of a validation split.

Features are computed once per image and denoiser, for all timesteps and blocks together, and read
at sampled pixels only. Every choice is then a set of columns of one table: an ensemble is fitted to
them as a training would fit it, and scored on the validation pixels, which takes seconds. The best
few may be tried as whole segmenters, scored by instances.

Pixels are nucleus from the probability that suits the validation pixels best, because a training
chooses its threshold, too. At one half, choices would be compared by how high their probabilities
are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.metrics.choosing import mean_merit
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.denoisers import build_denoiser
from wsinuc.models.checkpoints.inner_denoiser import load_denoiser_checkpoint
from wsinuc.models.devices import pick_dtype, prepare_device
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.regular import make_folder
from wsinuc.segmenters import denoiser_path
from wsinuc.segmenters.ddpm import DdpmConfig, DdpmSegmenter
from wsinuc.segmenters.tiling import MAPS
from wsinuc.separation.settings import WatershedSettings
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.data.training_set import check_annotation
from wsinuc.workflows.evaluate.ignored import judge
from wsinuc.workflows.evaluate.predictions import predict_labels
from wsinuc.workflows.train.ddpm import load_extractor
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble, give_back_background
from wsinuc.workflows.train.pixel_table import IGNORED, PixelTable, SamplingConfig, collect_pixels
from wsinuc.workflows.train.sweep_report import SweepScore, draw_scores, write_scores
from wsinuc.workflows.train.threshold import best_level

_CHUNK = 16_384
"""Rows that are classified at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """What to try, and how."""

    timesteps: tuple[tuple[int, ...], ...] = ((5,), (50,), (150,), (250,), (50, 150, 250))
    """Sets of timesteps."""
    blocks: tuple[tuple[int, ...], ...] | None = None
    """Sets of decoder blocks. None takes one set, as deep in each denoiser's decoder as the published one is in
    its own: 6, 8, 10, 12 of 18."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """As a training has it: fewer views would prefer the features that learn fastest."""
    validation_pixels: int = 4000
    """Pixels per validation image, drawn evenly."""
    fit: EnsembleFitConfig = field(default_factory=EnsembleFitConfig)
    members: int = 5
    hidden: int = 64
    finalists: int = 0
    """So many of the best are tried as segmenters, for the AJI of their instances."""
    seed: int = 0

    def __post_init__(self) -> None:
        blocks = ((0,),) if self.blocks is None else self.blocks
        if not self.timesteps or not blocks or not all((*self.timesteps, *blocks)):
            raise ConfigError("a sweep needs at least one set of timesteps and one of blocks, none of them empty")


def published_depths(decoder_blocks: int) -> tuple[int, ...]:
    """Decoder blocks as deep in a decoder of so many as the published ones, 6, 8, 10 and 12, are in one of 18.

    Examples
    --------
    >>> published_depths(18), published_depths(8)
    ((6, 8, 10, 12), (3, 4, 5))
    """
    return tuple(sorted({round(block * decoder_blocks / 18) for block in (6, 8, 10, 12)}))


@dataclass(frozen=True, slots=True)
class _Trial:
    """Everything that finalists need again."""

    score: SweepScore
    path: Path
    ensemble: PixelClassifierEnsemble
    features: FeatureConfig


def sweep(
    training: Sequence[LabelledImage],
    validation: Dataset,
    classes: tuple[NucleusClass, ...],
    denoisers: Sequence[PathLike],
    out: PathLike,
    config: SweepConfig,
    *,
    device: str = "auto",
    on_score: Callable[[SweepScore], None] = lambda score: None,
) -> list[SweepScore]:
    """Fit and score every choice; writes ``sweep.csv``, ``best.json`` and a heat map per denoiser into ``out``.

    Parameters
    ----------
    denoisers
        Names or files, as `wsinuc.segmenters.denoiser_path` takes them.

    Returns
    -------
    list of SweepScore
        Best first: by AJI among the finalists, then by mean IoU.

    Raises
    ------
    ConfigError
        A timestep or block does not exist in a denoiser.
    CheckpointError
        A file is no denoiser.
    DataError
        There is nothing to learn from, or classes do not match.
    """
    check_annotation(training, classes)
    check_annotation(validation, classes)
    folder = to_path(out)
    make_folder(folder)
    where = prepare_device(device)
    files = [denoiser_path(denoiser) for denoiser in denoisers]
    names = _names(files)
    trials: list[_Trial] = []
    for name, path in zip(names, files, strict=True):
        for trial in _trials(name, path, training, validation, len(classes), config, folder, where):
            on_score(trial.score)
            trials.append(trial)
    trials.sort(key=lambda trial: -trial.score.mean_iou)
    final = [_finalist(trial, validation, classes, where) for trial in trials[: config.finalists]]
    for score in final:
        on_score(score)
    # Finalists first: AJI of instances says more than IoU of pixels.
    scores = sorted(final, key=lambda score: -score.aji) + [trial.score for trial in trials[config.finalists :]]
    paths = dict(zip(names, files, strict=True))
    write_scores(scores, paths[scores[0].denoiser], folder)
    for number, name in enumerate(names):
        draw_scores([s for s in scores if s.denoiser == name], config.timesteps, folder / f"sweep_{number}_{name}.png")
    return scores


def feature_columns(extractor: FeatureExtractor, wanted: FeatureConfig) -> torch.Tensor:
    """Where the features of ``wanted`` stand in the rows of ``extractor``, in the order that their own rows have.

    Rows hold factor by factor, finest first; within a factor timestep by timestep, block by block.

    Raises
    ------
    ConfigError
        The extractor lacks one of the timesteps or blocks.
    """
    everything = extractor.config
    unet = extractor.unet.config
    timesteps = sorted(set(wanted.timesteps) - set(everything.timesteps))
    blocks = sorted(set(wanted.blocks) - set(everything.blocks))
    if timesteps or blocks:
        raise ConfigError(f"the rows have no timesteps {timesteps} or blocks {blocks}")
    columns: list[int] = []
    start = 0
    for factor in extractor.channels:
        of_factor = [b for b in everything.blocks if unet.decoder_factors[b] == factor]
        for timestep in everything.timesteps:
            for block in of_factor:
                width = unet.decoder_channels[block]
                if timestep in wanted.timesteps and block in wanted.blocks:
                    columns.extend(range(start, start + width))
                start += width
    return torch.tensor(columns)


def pixel_scores(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> tuple[float, float]:
    """Mean IoU over nucleus classes and Dice of nuclei, both pooled over pixels; ignored pixels do not count.

    Examples
    --------
    >>> pixel_scores(np.array([0, 1, 1, 2, -100]), np.array([0, 1, 2, 2, 1]), classes=2)
    (0.5, 1.0)
    """
    # Pixels of unknown class are neither right nor wrong.
    known = true != IGNORED
    true = true[known]
    predicted = predicted[known]
    ious = []
    for number in range(1, classes + 1):
        union = np.count_nonzero((true == number) | (predicted == number))
        if union:  # a class that is neither there nor predicted has no IoU
            ious.append(np.count_nonzero((true == number) & (predicted == number)) / union)
    both = np.count_nonzero((true > 0) & (predicted > 0))
    either = np.count_nonzero(true > 0) + np.count_nonzero(predicted > 0)
    return float(np.mean(ious)) if ious else math.nan, float(2 * both / either) if either else math.nan


def _trials(
    name: str,
    path: Path,
    training: Sequence[LabelledImage],
    validation: Dataset,
    classes: int,
    config: SweepConfig,
    out: Path,
    device: torch.device,
) -> Iterator[_Trial]:
    """Every choice for one denoiser, from two tables: rows to learn from, rows to score."""
    checkpoint = load_denoiser_checkpoint(path)
    mpp = float(checkpoint.config["mpp"])
    extractor = load_extractor(checkpoint, features_to_compute(checkpoint, config), device)
    # The precision of inference, so that choices are judged on the features that a segmenter will see.
    extractor.unet.to(pick_dtype(device))
    # Validation pixels are drawn evenly from images as they are: augmented ones would be scored as harder.
    plain = replace(
        config.sampling,
        visits=1,
        pixels=config.validation_pixels,
        background_share=1.0,
        zoom=1.0,
        stain=0.0,
        turn=False,
    )
    table = collect_pixels(training, extractor, mpp, config.sampling, seed=config.seed, folder=out)
    held_out = collect_pixels(validation, extractor, mpp, plain, seed=config.seed, folder=out)
    for features, shape in zip(
        choices(checkpoint, config), ensembles_to_fit(checkpoint, extractor, config, classes), strict=True
    ):
        columns = feature_columns(extractor, features)
        ensemble = fit_ensemble(table, shape, config.fit, seed=config.seed, columns=columns, device=device)
        give_back_background(ensemble, config.sampling.background_share)
        wanted = held_out.classes.numpy()
        mean_iou, dice = pixel_scores(wanted, verdicts(_probabilities(ensemble, held_out, columns), wanted), classes)
        score = SweepScore(
            denoiser=name,
            timesteps=features.timesteps,
            blocks=features.blocks,
            width=shape.width,
            mean_iou=mean_iou,
            dice=dice,
        )
        yield _Trial(score, path, ensemble, features)


def choices(checkpoint: Checkpoint, config: SweepConfig) -> list[FeatureConfig]:
    """What is tried of a denoiser: every set of timesteps with every set of blocks."""
    sets = config.blocks or (_published_blocks(checkpoint),)
    return [
        FeatureConfig(timesteps=timesteps, blocks=blocks, seed=config.seed)
        for timesteps in config.timesteps
        for blocks in sets
    ]


def features_to_compute(checkpoint: Checkpoint, config: SweepConfig) -> FeatureConfig:
    """All timesteps and blocks of all choices together; they are computed once."""
    tried = choices(checkpoint, config)
    return FeatureConfig(
        timesteps=tuple(sorted({t for features in tried for t in features.timesteps})),
        blocks=tuple(sorted({b for features in tried for b in features.blocks})),
        seed=config.seed,
    )


def ensembles_to_fit(
    checkpoint: Checkpoint, extractor: FeatureExtractor, config: SweepConfig, classes: int
) -> list[EnsembleConfig]:
    """The pixel classifiers of each choice, in the order of `choices`."""
    shapes = []
    for features in choices(checkpoint, config):
        own = FeatureExtractor(extractor.unet, extractor.process, features)
        shapes.append(
            EnsembleConfig(
                channels=tuple(own.channels.items()),
                classes=classes + 1,
                maps=MAPS["distance"],
                members=config.members,
                hidden=config.hidden,
            )
        )
    return shapes


def _published_blocks(checkpoint: Checkpoint) -> tuple[int, ...]:
    # On the meta device no memory is taken: only the shape is asked for.
    with torch.device("meta"):
        network = build_denoiser(checkpoint.config)
    if not isinstance(network, UNet):
        return (0,)  # what reads the features says that this network has none
    return published_depths(len(network.config.decoder_channels))


@torch.no_grad()
def _probabilities(ensemble: PixelClassifierEnsemble, table: PixelTable, columns: torch.Tensor) -> NDArray[np.float32]:
    """The members' mean ``(rows, classes)``, background first."""
    parts = []
    for chunk in torch.split(table.features, _CHUNK):
        raw = ensemble(chunk[None][..., columns].to(ensemble.first.device).float())
        parts.append(raw[..., : ensemble.config.classes].softmax(-1).mean(0).cpu())
    return torch.cat(parts).numpy()


def verdicts(probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each row ``(rows,)``: background below the threshold of highest Dice, else the most probable one.

    Parameters
    ----------
    probabilities
        ``(rows, classes)``, background first.
    true
        ``(rows,)`` what the threshold is chosen by; `IGNORED` where nobody knows.

    Examples
    --------
    >>> rows = np.array([[0.9, 0.1], [0.65, 0.35], [0.6, 0.4]], np.float32)
    >>> verdicts(rows, np.array([0, 1, 1])).tolist()
    [0, 1, 1]
    """
    levels = np.rint(255 * (1 - probabilities[:, 0])).astype(np.int64).clip(0, 255)
    # A nucleus of unknown class is a nucleus.
    inside = np.bincount(levels[true != 0], minlength=256)
    outside = np.bincount(levels[true == 0], minlength=256)
    nuclei = levels >= best_level(inside, outside)
    return np.where(nuclei, 1 + probabilities[:, 1:].argmax(1), 0)


def _finalist(
    trial: _Trial, validation: Dataset, classes: tuple[NucleusClass, ...], device: torch.device
) -> SweepScore:
    """A choice tried as a segmenter on whole validation images."""
    checkpoint = load_denoiser_checkpoint(trial.path)
    extractor = load_extractor(checkpoint, trial.features, device)
    config = DdpmConfig(
        unet=extractor.unet.config,
        features=trial.features,
        ensemble=trial.ensemble.config,
        watershed=WatershedSettings(mpp=float(checkpoint.config["mpp"])),
        separation="distance",
        classes=classes,
    )
    segmenter = DdpmSegmenter(config, extractor.unet, trial.ensemble, device=device, dtype=pick_dtype(device))
    judged = (judge(image, predict_labels(image, segmenter=segmenter)) for image in validation)
    return replace(trial.score, aji=mean_merit(judged))


def _names(denoisers: Sequence[Path]) -> list[str]:
    """What denoisers are called in tables: their file's name, with its folder where two share one."""
    if not denoisers:
        raise ConfigError("a sweep needs at least one denoiser")
    stems = [path.stem for path in denoisers]
    return [
        stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}_{stem}"
        for stem, path in zip(stems, denoisers, strict=True)
    ]
