"""``wsinuc train``: pixel classifiers on a frozen denoiser, from a few annotated images (method A, section 2.4).

Every annotated image is visited several times, each time stained, zoomed and turned anew; on each visit its features are
computed once and read at a few random pixels. The members then train side by side on those rows, each with its own
initial weights and its own order. Nothing of full width is ever stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

import wsinuc
from wsinuc.datasets.augment import dihedral, jitter_stain
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import DataError
from wsinuc.models.checkpoint import as_tuples, load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_device, pick_dtype
from wsinuc.models.diffusion import GaussianDiffusion
from wsinuc.models.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features import NOISE_PERIOD, FeatureConfig, FeatureExtractor, sample_features
from wsinuc.models.training import FitConfig, Progress
from wsinuc.models.unet import UNet, UNetConfig
from wsinuc.segmenters.base import NucleusClass
from wsinuc.segmenters.ddpm import MAPS, DdpmConfig, DdpmSegmenter
from wsinuc.segmenters.targets import centre_distance, hv_maps
from wsinuc.segmenters.watershed import WatershedSettings
from wsinuc.tasks.finetune import FinetuneConfig, disturbed, finetune

NUCLEUS = NucleusClass("Nucleus", (0, 200, 80))
"""Green: it stands out from every stain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of one training of an ensemble."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    separation: str = "distance"
    """What is regressed beside the classes: ``distance`` or ``hv``."""
    members: int = 5
    hidden: int = 64
    visits: int = 8
    """Times that each image is seen under another augmentation."""
    pixels: int = 1000
    """Pixels read per visit."""
    epochs: int = 12
    batch: int = 1024
    lr: float = 1e-3
    map_weight: float = 2.0
    """Weight of the maps' squared error beside the classes' cross-entropy."""
    zoom: float = 1.25
    stain: float = 0.2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PixelTable:
    """Features and targets of the sampled pixels, row by row."""

    features: torch.Tensor
    """``(rows, width)`` fp16."""
    classes: torch.Tensor
    """``(rows,)`` int64, 0 is background."""
    maps: torch.Tensor
    """``(rows, maps)`` fp32; only rows of nuclei count for H and V."""


def augmented(
    sample: LabelledImage, mpp: float, rng: np.random.Generator, config: TrainConfig
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Image and labels as another laboratory would have them, at ``mpp``, mirrored up to a multiple of 64 px."""
    factor = sample.mpp / mpp * float(np.exp(rng.uniform(-1, 1) * np.log(config.zoom)))
    height, width = sample.labels.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR))
    labels = np.asarray(Image.fromarray(sample.labels).resize(size, Image.Resampling.NEAREST), np.int32)
    turn = int(rng.integers(8))
    return dihedral(jitter_stain(image, rng, config.stain), turn), dihedral(labels, turn)


def padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image mirrored at its lower and right border up to a multiple of the noise's period."""
    missing = [(0, -side % NOISE_PERIOD) for side in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric")


def targets(labels: NDArray[np.int32], separation: str) -> NDArray[np.float32]:
    """Maps to regress, ``(maps, h, w)``: centre distance, or H and V moved from [-1, 1] as they are."""
    return hv_maps(labels) if separation == "hv" else centre_distance(labels)[None]


def collect_pixels(
    dataset: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    mpp: float,
    config: TrainConfig,
    on_visit: Callable[[int, int], None] = lambda done, total: None,
) -> PixelTable:
    """Features and targets of random pixels of every image under every augmentation.

    Raises
    ------
    DataError
        The data set is empty or holds no nucleus.
    """
    total = config.visits * len(dataset)
    parts = []
    for done, (features, classes, maps) in enumerate(_visits(dataset, extractor, mpp, config), start=1):
        parts.append((features.half(), classes, maps))
        on_visit(done, total)
    if not parts or not any(bool(classes.any()) for _, classes, _ in parts):
        raise DataError("no annotated nucleus to learn from: check the data set's labels and filters")
    return PixelTable(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _visits(
    dataset: Sequence[LabelledImage], extractor: FeatureExtractor, mpp: float, config: TrainConfig
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    weight = extractor.unet.stem.weight
    for visit in range(config.visits):
        for index, sample in enumerate(dataset):
            rng = np.random.default_rng((config.seed, visit, index))
            image, labels = augmented(sample, mpp, rng, config)
            pixels = torch.from_numpy(padded(image)).to(weight.device).permute(2, 0, 1)[None].float() / 127.5 - 1
            shift = (int(rng.integers(NOISE_PERIOD)), int(rng.integers(NOISE_PERIOD)))
            feature_maps = {f: m.cpu() for f, m in extractor(pixels, shift).items()}
            points = rng.integers((0, 0), labels.shape, size=(config.pixels, 2))
            wanted = targets(labels, config.separation)[:, points[:, 0], points[:, 1]].T
            yield (
                sample_features(feature_maps, 0, torch.from_numpy(points)),
                torch.from_numpy((labels[points[:, 0], points[:, 1]] > 0).astype(np.int64)),
                torch.from_numpy(np.ascontiguousarray(wanted)),
            )


def fit_ensemble(
    table: PixelTable,
    shape: EnsembleConfig,
    config: TrainConfig,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> PixelClassifierEnsemble:
    """Train all members at once, each on its own order of the rows; cosine decay to zero."""
    torch.manual_seed(config.seed)
    ensemble = PixelClassifierEnsemble(shape)
    ensemble.mean.copy_(table.features.float().mean(0))
    ensemble.std.copy_(table.features.float().std(0).clamp_min(1e-3))
    generator = torch.Generator().manual_seed(config.seed)
    rows, batches = len(table.classes), max(1, len(table.classes) // config.batch)
    optimiser = torch.optim.AdamW(ensemble.parameters(), lr=config.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs * batches)
    for epoch in range(config.epochs):
        orders = torch.stack([torch.randperm(rows, generator=generator) for _ in range(shape.members)])
        total = 0.0
        for batch in range(batches):
            rows_now = orders[:, batch * config.batch : (batch + 1) * config.batch]
            loss = _loss(ensemble, table, rows_now, shape.classes, config)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        on_epoch(epoch, total / batches)
    return ensemble


def _loss(
    ensemble: PixelClassifierEnsemble, table: PixelTable, rows: torch.Tensor, classes: int, config: TrainConfig
) -> torch.Tensor:
    """Cross-entropy of the classes plus the maps' squared error, for rows ``(members, batch)``.

    H and V mean nothing outside nuclei and count inside only; centre distance is 0 outside and counts everywhere.
    """
    raw = ensemble(table.features[rows].float())
    wanted, maps = table.classes[rows], table.maps[rows]
    error = (raw[..., classes:] - maps).square().mean(-1)
    if config.separation == "hv":
        inside = wanted > 0
        error = error * inside / inside.float().mean().clamp_min(1e-6)
    return F.cross_entropy(raw[..., :classes].flatten(0, 1), wanted.flatten()) + config.map_weight * error.mean()


def train(
    dataset: Sequence[LabelledImage],
    denoiser: Path,
    out: Path,
    config: TrainConfig,
    *,
    tuning: FinetuneConfig | None = None,
    weights: Sequence[float] | None = None,
    nucleus: NucleusClass = NUCLEUS,
    device: str = "auto",
    provenance: dict[str, Any] | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> None:
    """Train an ensemble on a denoiser's features and write both as one segmenter checkpoint.

    Parameters
    ----------
    dataset
        Annotated images, each with its own mpp.
    denoiser
        Checkpoint of kind ``denoiser``; its mpp is the segmenter's.
    nucleus
        Name and colour of the one class that instance labels can teach.
    tuning
        Train denoiser and ensemble together (method D); None leaves the denoiser frozen (method A), and fits the ensemble on
        sampled pixels.
    weights
        How often each image is drawn in fine-tuning; equal by default.

    Raises
    ------
    CheckpointError
        ``denoiser`` is no denoiser.
    DataError
        There is nothing to learn from.
    """
    where = pick_device(device)
    checkpoint = load_checkpoint(denoiser, "denoiser")
    mpp = float(checkpoint.config["mpp"])
    unet = UNet(UNetConfig(**as_tuples(checkpoint.config["unet"])))
    unet.load_state_dict({k: v.float() for k, v in checkpoint.tensors.items()})
    network = unet.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    extractor = FeatureExtractor(network, GaussianDiffusion(), config.features)
    shape = EnsembleConfig(
        channels=tuple(extractor.channels.items()),
        classes=2,
        maps=MAPS[config.separation],
        members=config.members,
        hidden=config.hidden,
    )
    if tuning is not None:
        ensemble = _tune(dataset, extractor, shape, mpp, tuning, out, weights, on_event)
    else:
        ensemble = _fit_on_features(dataset, extractor, shape, mpp, config, on_event)
    segmenter = DdpmSegmenter(
        DdpmConfig(
            unet=unet.config,
            features=config.features,
            ensemble=shape,
            watershed=WatershedSettings(mpp=mpp),
            separation=config.separation,
            classes=(nucleus,),
        ),
        network,
        ensemble,
        device=where,
    )
    origin = {
        "wsinuc": wsinuc.__version__,
        "torch": torch.__version__,
        "training": asdict(config),
        "fine_tuning": asdict(tuning) if tuning else None,
        "images": len(dataset),
        "denoiser": {"sha256": checkpoint.sha256, **checkpoint.provenance},
        **(provenance or {}),
    }
    save_checkpoint(segmenter.to_checkpoint(origin), out)


def _tune(
    dataset: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    shape: EnsembleConfig,
    mpp: float,
    tuning: FinetuneConfig,
    out: Path,
    weights: Sequence[float] | None,
    on_event: Callable[[str], None],
) -> PixelClassifierEnsemble:
    """Fine-tune the denoiser with one classifier, then with the whole ensemble."""

    def report(progress: Progress) -> None:
        on_event(f"fine-tuning: step {progress.step}  loss {progress.loss:.4f}  {progress.seconds:.0f} s")

    def run(head: PixelClassifierEnsemble, schedule: FitConfig, suffix: str) -> None:
        state = out.with_suffix(suffix)
        finetune(dataset, extractor, head, mpp, tuning, schedule, state=state, weights=weights, on_progress=report)

    torch.manual_seed(tuning.seed)
    single = PixelClassifierEnsemble(replace(shape, members=1)).to(extractor.unet.stem.weight.device)
    run(single, tuning.fit, ".state")
    torch.manual_seed(tuning.seed)
    ensemble = disturbed(single, shape.members, tuning.disturbance)
    run(ensemble, tuning.ensemble_fit, ".ensemble.state")
    return ensemble


def _fit_on_features(
    dataset: Sequence[LabelledImage],
    extractor: FeatureExtractor,
    shape: EnsembleConfig,
    mpp: float,
    config: TrainConfig,
    on_event: Callable[[str], None],
) -> PixelClassifierEnsemble:
    """The ensemble on features as inference will see them, in the device's own precision."""
    device = extractor.unet.stem.weight.device
    extractor.unet.to(pick_dtype(device))

    def visited(done: int, total: int) -> None:
        if done % len(dataset) == 0:
            on_event(f"features: {done} of {total} views")

    table = collect_pixels(dataset, extractor, mpp, config, visited)
    return fit_ensemble(
        table, shape, config, lambda epoch, loss: on_event(f"ensemble: epoch {epoch + 1}  loss {loss:.4f}")
    )
