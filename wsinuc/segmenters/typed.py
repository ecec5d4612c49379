"""A segmenter whose nuclei get their classes afterwards, each as a whole: any other one, and a `NucleusClassifier`.

Scores are those of the segmenter inside, with channels for the classes and the two stains of the
pixels behind. The channels of the classes hold the maps of a `ClassNetwork` where there is one, and
nothing otherwise. After separation ``classify`` describes each nucleus (`wsinuc.nuclei.describe`, and
the mean of each map over it) and paints what the classifier makes of it into the channels of the
classes, so whatever reads scores finds classes there as with every other segmenter.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.checkpoint import Checkpoint
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.checkpoints.weights import as_fp32, part_of
from wsinuc.models.features.nucleus_classifier import NucleusClassifier
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.describe import DESCRIPTORS, describe, stain_levels
from wsinuc.segmenters.base import Classes, Fitted, Segmenter, check_classes, described
from wsinuc.segmenters.class_network import ClassNetwork, ClassWeights, class_network_config
from wsinuc.segmenters.normalisation import recoloured
from wsinuc.segmenters.on_base import SegmenterOnBase
from wsinuc.segmenters.tiling import STAINS, typed_channels, typed_halo
from wsinuc.separation.channels import DISAGREEMENT, FIRST_CLASS, FOREGROUND

METHOD = "typed"
_BASE = "base."
"""Prefix in a checkpoint of the weights of the segmenter inside."""
_NETWORK = "network."
"""Prefix of the weights of the network of classes."""
COLOURS = "classes.colours"
"""Name among the statistics of the table of a slide's colours, as the network of classes sees them."""
LEAST = 0.01
"""Added to the mean of a map before its logarithm is taken: below it, a map that says no says no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedConfig:
    """What the header of such a checkpoint says."""

    base: dict[str, Any]
    """Config of the segmenter inside."""
    classes: Classes
    descriptors: tuple[str, ...]
    """What the classifier knows nuclei by."""
    network: dict[str, Any] | None = None
    """Shape of the network of classes, see `wsinuc.segmenters.class_network`; None where there is none."""
    method: str = METHOD

    def __post_init__(self) -> None:
        check_classes(self.classes)


class TypedSegmenter(SegmenterOnBase):
    """Instances of ``base``, classes of ``classifier``; see `wsinuc.segmenters.base.Classifying`.

    Parameters
    ----------
    classifier
        From the descriptors to ``classes``; None while there is none yet: then nothing can be classified.
    network
        Says at every place what kind of nucleus lies there; None leaves its descriptors out.
    """

    def __init__(
        self,
        base: Segmenter,
        classes: tuple[NucleusClass, ...],
        classifier: NucleusClassifier | None = None,
        *,
        network: ClassNetwork | None = None,
        weights_sha256: str = "",
    ) -> None:
        self.base = base
        self.classes = classes
        self.classifier = classifier
        self.network = network
        self.weights_sha256 = weights_sha256
        self.colours: NDArray[np.float32] | None = None

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> TypedSegmenter:
        """A segmenter from a checkpoint that `typed_checkpoint` made; raises CheckpointError."""
        from wsinuc.segmenters import segmenter_from

        config = from_header(TypedConfig, checkpoint.config)
        # Weights are tied to the order and meaning of the descriptors, which the file therefore names.
        if config.descriptors != descriptor_names(_maps(config.network)):
            raise CheckpointError(
                "the model knows nuclei by other descriptors than this version of wsinuc computes; train it again"
            )
        if config.base.get("method") == METHOD:
            raise CheckpointError(
                "the model gives classes to nuclei that have classes already: its base must not be of its kind"
            )
        inside = part_of(checkpoint.tensors, _BASE)
        maps = part_of(checkpoint.tensors, _NETWORK)
        own = {
            name: tensor.double().numpy()
            for name, tensor in checkpoint.tensors.items()
            if not name.startswith((_BASE, _NETWORK))
        }
        classifier = NucleusClassifier.from_arrays(own, len(config.descriptors), len(config.classes))
        network = None
        if config.network is not None:
            network = _network(config.network, maps, len(config.classes), device, dtype)
        whole = Checkpoint(
            kind="segmenter", config=config.base, provenance={}, tensors=inside, sha256=checkpoint.sha256
        )
        base = segmenter_from(whole, device=device, dtype=dtype)
        return cls(base, config.classes, classifier, network=network, weights_sha256=checkpoint.sha256)

    @property
    def min_halo(self) -> int:
        """Pixels to read around a block."""
        return typed_halo(self.base.min_halo, self.mpp)

    def __repr__(self) -> str:
        return described(self)

    @property
    def channels(self) -> int:
        """Foreground, disagreement, classes, then what the base has behind its first two, then the stains."""
        return typed_channels(self.base.channels, len(self.classes))

    @property
    def identity(self) -> str:
        """Names the base, the classes, the network of classes and the classifier."""
        parts: list[bytes] = []
        if self.classifier is not None:
            parts = [array.tobytes() for array in self.classifier.arrays.values()]
        # What decides a nucleus' class decides whether stored blocks can be gone on from.
        facts = [self.base.identity, [asdict(c) for c in self.classes], self.descriptors, self.weights_sha256]
        return hashlib.sha256(json.dumps(facts).encode() + b"".join(parts)).hexdigest()

    def calibrate(self, samples: NDArray[np.uint8]) -> TypedSegmenter:
        """A copy whose base is calibrated, and whose network sees the slide's colours as it learned them; itself
        where neither needs it."""
        colours = None
        if self.training_colours is not None:
            colours = self.training_colours.table(samples)
        return self._on(self.base.calibrate(samples), colours)

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """Those of the base, and the colours."""
        own = {}
        if self.colours is not None:
            own[COLOURS] = self.colours
        if isinstance(self.base, Fitted):
            return self.base.statistics() | own
        return own

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> TypedSegmenter:
        """A copy that has the statistics of a calibrated one."""
        base = self.base
        if isinstance(base, Fitted):
            base = base.with_statistics({name: values for name, values in statistics.items() if name != COLOURS})
        return self._on(base, statistics.get(COLOURS))

    def _on(self, base: Segmenter, colours: NDArray[np.float32] | None) -> TypedSegmenter:
        if base is self.base and colours is None and self.colours is None:
            return self
        moved = copy.copy(self)
        moved.base = base
        moved.colours = colours
        return moved

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``; the classes' channels are the
        network's maps, or empty."""
        scores = self.base.predict(pixels)
        inner = slice(self.margin, self.tile - self.margin)
        # Classes are known for whole nuclei only; `classify` writes over these channels after separation.
        maps = np.zeros((len(scores), len(self.classes), *scores.shape[2:]), np.uint8)
        if self.network is not None:
            maps[:, : self.network.classes] = self.network.maps(recoloured(pixels, self.colours), self.margin)
        stains = stain_levels(pixels[:, inner, inner])
        return np.concatenate([scores[:, :FIRST_CLASS], maps, scores[:, FIRST_CLASS:], stains], axis=1)

    def maps_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Maps of the classes ``(classes, h, w)`` of a whole image ``(h, w, 3)`` in the network's colours; nothing
        without a network."""
        maps = np.zeros((len(self.classes), *pixels.shape[:2]), np.uint8)
        if self.network is not None:
            around = [(self.margin, self.margin), (self.margin, self.margin), (0, 0)]
            # Mirrored, as tiles are at the edge of a slide.
            seen = np.pad(pixels, around, mode="symmetric")
            maps[: self.network.classes] = self.network.maps(seen[None], self.margin)[0]
        return maps

    def separate(self, scores: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Scores ``(channels, h, w)`` to instances ``(h, w)``, those of the base."""
        # The base knows neither our classes nor the stains, and must see what it would see alone.
        behind = scores[FIRST_CLASS + len(self.classes) : -STAINS]
        return self.base.separate(np.concatenate([scores[:FIRST_CLASS], behind]))

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the columns of `describe`."""
        return descriptor_names(0 if self.network is None else self.network.classes)

    def describe(self, labels: NDArray[np.int32], scores: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Descriptors ``(n, len(descriptors))`` of labels 1..n on the scores ``(channels, h, w)`` they came from."""
        numbers = describe(labels, scores[FOREGROUND], scores[-STAINS:], self.mpp)
        if self.network is None:
            return numbers
        maps = scores[FIRST_CLASS : FIRST_CLASS + self.network.classes]
        return np.column_stack([numbers, mean_maps(labels, maps)])

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


def descriptor_names(maps: int) -> tuple[str, ...]:
    """What nuclei are known by: `DESCRIPTORS`, and so many maps where a network makes them."""
    return (*DESCRIPTORS, *(f"map_{number}" for number in range(1, maps + 1)))


def _maps(shape: dict[str, Any] | None) -> int:
    """Number of maps of a network of this shape; 0 without one."""
    if shape is None:
        return 0
    return class_network_config(shape).classes


def mean_maps(labels: NDArray[np.int32], maps: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The logarithm of the mean of each map ``(classes, h, w)`` over each of the labels 1..n, ``(n, classes)``.

    Examples
    --------
    >>> mean_maps(np.array([[1, 1, 0]], np.int32), np.array([[[255, 0, 9]]], np.uint8)).round(3).tolist()
    [[-0.673]]
    """
    at = np.flatnonzero(labels)
    own = labels.ravel()[at]
    areas = np.bincount(own)[1:]
    columns = []
    for plane in maps:
        # Sums of whole numbers, which have no order that could matter.
        sums = np.bincount(own, plane.ravel()[at])[1:]
        # math.log: the last bit of numpy's depends on where in its array a value stands.
        columns.append([math.log(value + LEAST) for value in (sums / (255 * np.maximum(areas, 1))).tolist()])
    return np.array(columns, np.float64).reshape(len(maps), len(areas)).T


def _network(
    shape: dict[str, Any], tensors: dict[str, torch.Tensor], classes: int, device: torch.device, dtype: torch.dtype
) -> ClassNetwork:
    """The network of classes of a checkpoint; raises CheckpointError where its weights or its outputs do not fit."""
    network = ClassNetwork.from_tensors(shape, as_fp32(tensors), device=device, dtype=dtype)
    if network.classes > classes or network.network.config.maps:
        raise CheckpointError(
            f"the network of classes may have one output for each of the {classes} classes and none else: "
            "the file is damaged, or was edited"
        )
    return network


def network_of(checkpoint: Checkpoint) -> ClassWeights:
    """Shape and weights of the network of classes in a checkpoint; raises CheckpointError where there is none."""
    shape = checkpoint.config.get("network")
    if checkpoint.config.get("method") != METHOD or not isinstance(shape, dict):
        raise CheckpointError("the model has no network of classes: give one that was learned with one")
    return shape, as_fp32(part_of(checkpoint.tensors, _NETWORK))


def typed_checkpoint(
    base: Checkpoint,
    classes: tuple[NucleusClass, ...],
    classifier: NucleusClassifier,
    provenance: dict[str, Any],
    *,
    network: ClassWeights | None = None,
) -> Checkpoint:
    """A segmenter's checkpoint and a classifier as one of kind ``segmenter``.

    Parameters
    ----------
    network
        Shape and weights of the network of classes; None where there is none.
    """
    config = {
        "method": METHOD,
        "base": base.config,
        "classes": [asdict(each) for each in classes],
        "descriptors": list(descriptor_names(_maps(None if network is None else network[0]))),
    }
    own = {name: torch.from_numpy(array) for name, array in classifier.arrays.items()}
    inside = {f"{_BASE}{name}": tensor for name, tensor in base.tensors.items()}
    if network is not None:
        config["network"] = network[0]
        # As in `network_checkpoint`: matrices as fp16, vectors exact.
        own |= {f"{_NETWORK}{name}": t.half() if t.ndim > 1 else t for name, t in network[1].items()}
    return Checkpoint(kind="segmenter", config=config, provenance=provenance, tensors=inside | own)
