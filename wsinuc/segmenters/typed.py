"""A segmenter whose nuclei get their classes afterwards, each as a whole: any other one, and a `NucleusClassifier`.

Scores are those of the segmenter inside, with empty channels for the classes and the two stains of
the pixels behind. After separation ``classify`` describes each nucleus (`wsinuc.nuclei.describe`)
and paints what the classifier makes of it into the channels of the classes, so whatever reads
scores finds classes there as with every other segmenter.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.features.nucleus_classifier import NucleusClassifier
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.describe import DESCRIPTORS, describe, stain_levels
from wsinuc.segmenters.base import Certain, Classes, Coloured, Fitted, Segmenter, check_classes
from wsinuc.segmenters.normalisation import ColourNormalisation
from wsinuc.segmenters.tiling import STAINS, typed_channels, typed_halo
from wsinuc.separation.channels import DISAGREEMENT, FIRST_CLASS, FOREGROUND

METHOD = "typed"
_BASE = "base."
"""Prefix in a checkpoint of the weights of the segmenter inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedConfig:
    """What the header of such a checkpoint says."""

    base: dict[str, Any]
    """Config of the segmenter inside."""
    classes: Classes
    descriptors: tuple[str, ...]
    """What the classifier knows nuclei by."""
    method: str = METHOD

    def __post_init__(self) -> None:
        check_classes(self.classes)


class TypedSegmenter:
    """Instances of ``base``, classes of ``classifier``; see `wsinuc.segmenters.base.Classifying`.

    Parameters
    ----------
    classifier
        From `DESCRIPTORS` to ``classes``; None while there is none yet: then nothing can be classified.
    """

    def __init__(
        self,
        base: Segmenter,
        classes: tuple[NucleusClass, ...],
        classifier: NucleusClassifier | None = None,
        *,
        weights_sha256: str = "",
    ) -> None:
        self.base = base
        self.classes = classes
        self.classifier = classifier
        self.weights_sha256 = weights_sha256

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> TypedSegmenter:
        """A segmenter from a checkpoint that `typed_checkpoint` made; raises CheckpointError."""
        from wsinuc.segmenters import segmenter_from

        config = from_header(TypedConfig, checkpoint.config)
        # Weights are tied to the order and meaning of the descriptors, which the file therefore names.
        if config.descriptors != DESCRIPTORS:
            raise CheckpointError(
                "the model knows nuclei by other descriptors than this version of wsinuc computes; train it again"
            )
        if config.base.get("method") == METHOD:
            raise CheckpointError(
                "the model gives classes to nuclei that have classes already: its base must not be of its kind"
            )
        inside = {name.removeprefix(_BASE): t for name, t in checkpoint.tensors.items() if name.startswith(_BASE)}
        own = {name: t.double().numpy() for name, t in checkpoint.tensors.items() if not name.startswith(_BASE)}
        classifier = _classifier(own, len(config.classes))
        whole = Checkpoint(
            kind="segmenter", config=config.base, provenance={}, tensors=inside, sha256=checkpoint.sha256
        )
        base = segmenter_from(whole, device=device, dtype=dtype)
        return cls(base, config.classes, classifier, weights_sha256=checkpoint.sha256)

    @property
    def mpp(self) -> float:
        """um per pixel that it works at."""
        return self.base.mpp

    @property
    def mpp_range(self) -> tuple[float, float]:
        """um per pixel of the slides it accepts, finest and coarsest."""
        return self.base.mpp_range

    @property
    def tile(self) -> int:
        """Side of a network input in pixels."""
        return self.base.tile

    @property
    def margin(self) -> int:
        """Pixels cropped from each side of a tile's scores."""
        return self.base.margin

    @property
    def min_halo(self) -> int:
        """Pixels to read around a block."""
        return typed_halo(self.base.min_halo, self.mpp)

    def certainty(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """The base's own, since the nuclei are; raw probabilities of a base that was not measured."""
        if isinstance(self.base, Certain):
            return self.base.certainty(probabilities)
        return probabilities

    @property
    def training_colours(self) -> ColourNormalisation | None:
        """Those of its base."""
        if isinstance(self.base, Coloured):
            return self.base.training_colours
        return None

    @property
    def channels(self) -> int:
        """Foreground, disagreement, classes, then what the base has behind its first two, then the stains."""
        return typed_channels(self.base.channels, len(self.classes))

    @property
    def batch_size(self) -> int:
        """Tiles per forward pass."""
        return self.base.batch_size

    @property
    def identity(self) -> str:
        """Names the base, the classes and the classifier."""
        parts: list[bytes] = []
        if self.classifier is not None:
            own = self.classifier
            parts = [array.tobytes() for array in (own.mean, own.scale, own.weights, own.biases)]
        # What decides a nucleus' class decides whether stored blocks can be gone on from.
        facts = [self.base.identity, [asdict(c) for c in self.classes], DESCRIPTORS]
        return hashlib.sha256(json.dumps(facts).encode() + b"".join(parts)).hexdigest()

    def calibrate(self, samples: NDArray[np.uint8]) -> TypedSegmenter:
        """A copy whose base is calibrated; itself where the base needs none."""
        return self._on(self.base.calibrate(samples))

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """Those of the base."""
        if isinstance(self.base, Fitted):
            return self.base.statistics()
        return {}

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> TypedSegmenter:
        """A copy whose base has the statistics of a calibrated one."""
        if isinstance(self.base, Fitted):
            return self._on(self.base.with_statistics(statistics))
        return self

    def _on(self, base: Segmenter) -> TypedSegmenter:
        if base is self.base:
            return self
        moved = copy.copy(self)
        moved.base = base
        return moved

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``; the classes' channels are empty."""
        scores = self.base.predict(pixels)
        inner = slice(self.margin, self.tile - self.margin)
        # Classes are known for whole nuclei only; `classify` fills these channels after separation.
        empty = np.zeros((len(scores), len(self.classes), *scores.shape[2:]), np.uint8)
        stains = stain_levels(pixels[:, inner, inner])
        return np.concatenate([scores[:, :FIRST_CLASS], empty, scores[:, FIRST_CLASS:], stains], axis=1)

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Scores ``(channels, h, w)`` to instances ``(h, w)``, those of the base."""
        # The base knows neither our classes nor the stains, and must see what it would see alone.
        behind = scores[FIRST_CLASS + len(self.classes) : -STAINS]
        return self.base.separate(np.concatenate([scores[:FIRST_CLASS], behind]))

    def describe(self, labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Descriptors ``(n, len(DESCRIPTORS))`` of labels 1..n on the scores ``(channels, h, w)`` they came from."""
        return describe(labels, scores[FOREGROUND], scores[-STAINS:], self.mpp)

    def classify(self, labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scores with the classes of whole nuclei in their channels; a copy of the first channels,
        ``(2 + classes, h, w)``.

        Where the classifiers of nuclei disagree more than those of pixels, theirs is the disagreement.
        """
        assert self.classifier is not None, "a segmenter without a classifier cannot classify"
        probabilities, disagreement = self.classifier(self.describe(labels, scores))
        # Row 0 is the disagreement; column 0, the background, stays 0.
        table = np.zeros((1 + len(self.classes), len(disagreement) + 1), np.uint8)
        table[0, 1:] = np.rint(255 * disagreement)
        table[1:, 1:] = np.rint(255 * probabilities.T)
        painted = scores[: FIRST_CLASS + len(self.classes)].copy()
        painted[DISAGREEMENT] = np.maximum(painted[DISAGREEMENT], table[0][labels])
        for channel in range(len(self.classes)):
            painted[FIRST_CLASS + channel] = table[1 + channel][labels]
        return painted


def _classifier(weights: dict[str, NDArray[np.float64]], classes: int) -> NucleusClassifier:
    """The classifier of so many classes that has these weights; raises CheckpointError where they do not fit."""
    descriptors = len(DESCRIPTORS)
    members = len(weights["biases"]) if "biases" in weights else 0
    shapes = {
        "mean": (descriptors,),
        "scale": (descriptors,),
        "weights": (members, descriptors, classes),
        "biases": (members, classes),
    }
    if not members or {name: value.shape for name, value in weights.items()} != shapes:
        raise CheckpointError("the classifier's weights do not fit their own header: the file is damaged")
    return NucleusClassifier(**weights)


def typed_checkpoint(
    base: Checkpoint, classes: tuple[NucleusClass, ...], classifier: NucleusClassifier, provenance: dict[str, Any]
) -> Checkpoint:
    """A segmenter's checkpoint and a classifier as one of kind ``segmenter``."""
    config = {
        "method": METHOD,
        "base": base.config,
        "classes": [asdict(each) for each in classes],
        "descriptors": list(DESCRIPTORS),
    }
    own = {name: torch.from_numpy(getattr(classifier, name)) for name in ("mean", "scale", "weights", "biases")}
    inside = {f"{_BASE}{name}": tensor for name, tensor in base.tensors.items()}
    return Checkpoint(kind="segmenter", config=config, provenance=provenance, tensors=inside | own)
