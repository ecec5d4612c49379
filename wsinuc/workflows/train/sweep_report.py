"""What a sweep leaves behind: ``sweep.csv``, the best choice as ``best.json``, heat maps."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wsinuc.errors import DataError
from wsinuc.exports.atomic import replacing_text
from wsinuc.exports.pictures.plots import draw_heat_map
from wsinuc.limits import read_json
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.typed_json import from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepScore:
    """What one choice scored on the validation pixels."""

    denoiser: str
    timesteps: tuple[int, ...]
    blocks: tuple[int, ...]
    width: int
    """Features per pixel."""
    mean_iou: float
    """IoU of each nucleus class pooled over all validation pixels, mean over classes; background is no class."""
    dice: float
    """Of nuclei of any class against background, pooled."""
    aji: float = math.nan
    """Mean over the validation images, of finalists only; images without nuclei as `wsinuc.metrics.choosing` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    """What is read of ``best.json``."""

    timesteps: tuple[int, ...]
    blocks: tuple[int, ...]


def _text(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def write_scores(scores: Sequence[SweepScore], denoiser: Path, out: Path) -> None:
    """``sweep.csv``, best first, and the best choice as ``best.json``."""
    with replacing_text(out / "sweep.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(list(asdict(scores[0])))
        for score in scores:
            row = asdict(score) | {"timesteps": _text(score.timesteps), "blocks": _text(score.blocks)}
            writer.writerow("" if isinstance(value, float) and math.isnan(value) else value for value in row.values())
    best = {name: None if value != value else value for name, value in asdict(scores[0]).items()}
    text = json.dumps(best | {"denoiser": str(denoiser)}, indent=2)
    with replacing_text(out / "best.json") as file:
        file.write(text + "\n")


def read_best(path: Path) -> FeatureConfig:
    """The timesteps and blocks of a ``best.json``; raises DataError for other files."""
    try:
        content = read_json(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    best = from_json(_Best, content, error=DataError, subject=f"{path} is no best.json of wsinuc sweep")
    return FeatureConfig(timesteps=best.timesteps, blocks=best.blocks)


def draw_scores(scores: Sequence[SweepScore], timesteps: Sequence[tuple[int, ...]], path: Path) -> None:
    """Mean IoU of one denoiser: sets of timesteps down, sets of blocks across."""
    values = {(score.timesteps, score.blocks): score.mean_iou for score in scores}
    sets = sorted({score.blocks for score in scores})
    draw_heat_map(
        [[values[chosen, blocks] for blocks in sets] for chosen in timesteps],
        [_text(chosen) for chosen in timesteps],
        [_text(blocks) for blocks in sets],
        path,
        x="decoder blocks",
        y="timesteps",
        title=f"mean IoU on the validation pixels, {scores[0].denoiser}",
    )
