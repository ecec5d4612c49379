"""A segmenter whose nuclei get their classes last, from what the table holds of them: any other one, and a
`MeasuredClassifier`.

Blocks are made as the segmenter inside makes them, with empty channels for the classes. When the nuclei are numbered,
and all that is measured of them is known, their neighbours too, ``with_classes`` names them. So they get the classes
that ``wsinuc classify`` gives to the same nuclei of a finished result.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.checkpoints.weights import part_of
from wsinuc.models.features.measured_classifier import MeasuredClassifier
from wsinuc.models.features.nucleus_classifier import NucleusClassifier
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.class_features import FeatureColumns, feature_columns
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.base import Classes, Classifying, Fitted, Needs, Segmenter, check_classes, described
from wsinuc.segmenters.on_base import SegmenterOnBase
from wsinuc.separation.channels import FIRST_CLASS

METHOD = "measured"
_BASE = "base."
"""Prefix in a checkpoint of the weights of the segmenter inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredConfig:
    """What the header of such a checkpoint says."""

    base: dict[str, Any]
    """Config of the segmenter inside."""
    classes: Classes
    columns: tuple[str, ...]
    """Measurements that the classifier knows nuclei by."""
    needs: Needs
    method: str = METHOD

    def __post_init__(self) -> None:
        check_classes(self.classes)
        if feature_columns(self.columns) != self.columns:
            raise ConfigError("the model knows nuclei by measurements that this version of wsinuc does not have")


class MeasuredSegmenter(SegmenterOnBase):
    """Instances of ``base``, classes of ``classifier``; see `wsinuc.segmenters.base.ByMeasurement`."""

    def __init__(
        self,
        base: Segmenter,
        classes: tuple[NucleusClass, ...],
        classifier: MeasuredClassifier,
        needs: Needs,
        *,
        weights_sha256: str = "",
    ) -> None:
        self.base = base
        self.classes = classes
        self.classifier = classifier
        self.needs = needs
        self.weights_sha256 = weights_sha256

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> MeasuredSegmenter:
        """A segmenter from a checkpoint that `measured_checkpoint` made; raises CheckpointError."""
        from wsinuc.segmenters import segmenter_from

        config = from_header(MeasuredConfig, checkpoint.config)
        if config.base.get("method") == METHOD:
            raise CheckpointError("the model names the nuclei of a model of its own kind, which it must not")
        inside = part_of(checkpoint.tensors, _BASE)
        own = {name: t.double().numpy() for name, t in checkpoint.tensors.items() if not name.startswith(_BASE)}
        regressions = NucleusClassifier.from_arrays(own, len(config.columns), len(config.classes))
        whole = Checkpoint(
            kind="segmenter", config=config.base, provenance={}, tensors=inside, sha256=checkpoint.sha256
        )
        base = segmenter_from(whole, device=device, dtype=dtype)
        classifier = MeasuredClassifier(FeatureColumns(config.columns), regressions)
        return cls(base, config.classes, classifier, config.needs, weights_sha256=checkpoint.sha256)

    def __repr__(self) -> str:
        return described(self)

    @property
    def identity(self) -> str:
        """Names the base, the classes and the classifier."""
        facts = [self.base.identity, [asdict(each) for each in self.classes], self.classifier.columns.names]
        arrays = b"".join(array.tobytes() for array in self.classifier.regressions.arrays.values())
        return hashlib.sha256(json.dumps(facts).encode() + arrays).hexdigest()

    def calibrate(self, samples: NDArray[np.uint8]) -> MeasuredSegmenter:
        """A copy whose base is calibrated; itself where the base needs none."""
        return self._on(self.base.calibrate(samples))

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """Those of the base."""
        if isinstance(self.base, Fitted):
            return self.base.statistics()
        return {}

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> MeasuredSegmenter:
        """A copy whose base has the statistics of a calibrated one."""
        if isinstance(self.base, Fitted):
            return self._on(self.base.with_statistics(statistics))
        return self

    def _on(self, base: Segmenter) -> MeasuredSegmenter:
        if base is self.base:
            return self
        moved = copy.copy(self)
        moved.base = base
        return moved

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scores of the base."""
        return self.base.predict(pixels)

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Instances of the base."""
        return self.base.separate(scores)

    def classify(self, labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Foreground and disagreement as the base has them, and empty channels for the classes, which are not known
        before everything is measured."""
        if isinstance(self.base, Classifying):
            scores = self.base.classify(labels, scores)
        empty = np.zeros((len(self.classes), *labels.shape), np.uint8)
        return np.concatenate([scores[:FIRST_CLASS], empty])

    def with_classes(self, nuclei: Nuclei) -> Nuclei:
        """The nuclei with their classes, from their measurements."""
        estimate = self.classifier(nuclei.measurements)
        return replace(nuclei, classes=estimate.indices, class_probabilities=estimate.probabilities)


def measured_checkpoint(
    base: Checkpoint,
    classes: Sequence[NucleusClass],
    classifier: MeasuredClassifier,
    needs: Needs,
    provenance: dict[str, Any],
) -> Checkpoint:
    """A segmenter's checkpoint and a classifier as one of kind ``segmenter``."""
    config = {
        "method": METHOD,
        "base": base.config,
        "classes": [asdict(each) for each in classes],
        "columns": list(classifier.columns.names),
        "needs": asdict(needs),
    }
    own = {name: torch.from_numpy(array) for name, array in classifier.regressions.arrays.items()}
    inside = {f"{_BASE}{name}": tensor for name, tensor in base.tensors.items()}
    return Checkpoint(kind="segmenter", config=config, provenance=provenance, tensors=inside | own)


def without_classes(checkpoint: Checkpoint) -> Checkpoint:
    """The base of such a checkpoint; any other as it is."""
    if checkpoint.config.get("method") != METHOD:
        return checkpoint
    return Checkpoint(
        kind="segmenter",
        config=checkpoint.config["base"],
        provenance=checkpoint.provenance,
        tensors=part_of(checkpoint.tensors, _BASE),
    )
