"""Pixel classifiers on the features of a frozen denoiser: features are computed once, ensembles fitted to any images.

What takes the time is the denoiser. So the table of pixels is made once, for every view of every
image, and a cross-validation fits each of its models to the rows of its own images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.datasets.base import LabelledImage
from wsinuc.models.devices import pick_dtype
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble
from wsinuc.models.features.extractor import FeatureExtractor
from wsinuc.progress_line import ProgressLine
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble, give_back_background
from wsinuc.workflows.train.pixel_table import PixelTable, SamplingConfig, collect_pixels

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFitConfig:
    """How pixels become rows, and how classifiers are fitted to them."""

    sampling: SamplingConfig
    fit: EnsembleFitConfig
    separation: str
    """``distance`` or ``hv``."""
    correct_background: bool
    """Give back to background at inference what sampling took from it."""
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class FrozenFeatures:
    """The features of images at sampled pixels, and ensembles that are fitted to them."""

    table: PixelTable
    config: PixelFitConfig
    device: torch.device

    @classmethod
    def collect(
        cls,
        images: Sequence[LabelledImage],
        extractor: FeatureExtractor,
        mpp: float,
        config: PixelFitConfig,
        *,
        folder: Path,
        on_event: Tell = lambda message: None,
    ) -> FrozenFeatures:
        """Features as inference will see them, in the device's own precision; ``folder`` takes what memory does not.

        Raises
        ------
        DataError
            There is no nucleus to learn from.
        OutputError
            The rows fit neither memory nor disk.
        """
        device = extractor.unet.stem.weight.device
        extractor.unet.to(pick_dtype(device))

        def visited(done: int, total: int) -> None:
            # A line per round through the images; one per view would be thousands.
            if done % len(images) == 0:
                text = f"features: {done} of {total} views"
                on_event(ProgressLine(text, stage="features", unit="views", done=done, total=total))

        table = collect_pixels(
            images,
            extractor,
            mpp,
            config.sampling,
            separation=config.separation,
            seed=config.seed,
            folder=folder,
            on_visit=visited,
        )
        return cls(table, config, device)

    def ensemble(
        self, shape: EnsembleConfig, chosen: NDArray[np.bool_] | None = None, *, on_event: Tell = lambda message: None
    ) -> PixelClassifierEnsemble:
        """An ensemble that has learned from the images that are ``chosen`` ``(images,)``, by default from all."""

        def fitted(epoch: int, loss: float) -> None:
            text = f"ensemble: epoch {epoch + 1}  loss {loss:.4f}"
            line = ProgressLine(
                text, stage="ensemble", unit="epochs", done=epoch + 1, total=self.config.fit.epochs, loss=loss
            )
            on_event(line)

        ensemble = fit_ensemble(
            self.table,
            shape,
            self.config.fit,
            seed=self.config.seed,
            rows=None if chosen is None else self._rows(chosen),
            device=self.device,
            on_epoch=fitted,
        )
        if self.config.correct_background:
            give_back_background(ensemble, self.config.sampling.background_share)
        return ensemble

    def _rows(self, chosen: NDArray[np.bool_]) -> torch.Tensor:
        assert self.table.images is not None  # `collect_pixels` says them
        return torch.from_numpy(chosen)[self.table.images].nonzero().flatten()
