"""What a batch of crops should give, and how far a network is from it: the loss of each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsinuc.datasets.sampling.crops import Crop
from wsinuc.models.networks.dense import DenseOutput
from wsinuc.models.training import losses
from wsinuc.separation.targets import contact_weights, map_targets
from wsinuc.workflows.train.network_config import NetworkTrainConfig


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What a batch of crops should give, on the pixels that the network puts out."""

    classes: Tensor
    """``(n, h, w)`` int64: 0 background, classes from 1, `losses.IGNORE` in nuclei of unknown class."""
    nuclei: Tensor
    """bool ``(n, h, w)``."""
    maps: Tensor
    """``(n, maps, h, w)`` float32."""
    importance: Tensor
    """``(n, h, w)`` float32: how much a pixel counts, at least 1; 0 where it is ignored."""
    known: Tensor | None = None
    """bool ``(n, h, w)``: the pixels that are not ignored; None where all count. ``classes`` is IGNORE elsewhere."""

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return replace(self, **{name: part.to(device) for name, part in parts.items() if part is not None})


def make_targets(
    crops: Sequence[Crop], separation: str, lost: int, *, mpp: float = 1.0, contact_weight: float = 0.0
) -> Targets:
    """Targets of a batch. Maps see the whole crop: a nucleus cut by the border of the output keeps its centre."""
    inner = slice(lost, crops[0].labels.shape[0] - lost)
    labels = np.stack([crop.labels for crop in crops])
    classes = np.stack([crop.class_map for crop in crops]).astype(np.int64)
    classes[(labels > 0) & (classes == 0)] = losses.IGNORE
    maps = np.stack([map_targets(item, separation) for item in labels])
    weighed = np.stack([contact_weights(item, mpp, strength=contact_weight) for item in labels])
    ignore = _ignored_pixels(crops)
    known = None
    if ignore is not None:
        classes[ignore] = losses.IGNORE
        weighed[ignore] = 0
        known = torch.from_numpy(~ignore[:, inner, inner])
    return Targets(
        classes=torch.from_numpy(classes[:, inner, inner]),
        nuclei=torch.from_numpy(labels[:, inner, inner] > 0),
        maps=torch.from_numpy(maps[:, :, inner, inner]),
        importance=torch.from_numpy(weighed[:, inner, inner]),
        known=known,
    )


def _ignored_pixels(crops: Sequence[Crop]) -> NDArray[np.bool_] | None:
    """``(n, h, w)`` pixels that count in no loss; None where all of all crops count."""
    if all(crop.ignore is None for crop in crops):
        return None
    nothing = np.zeros(crops[0].labels.shape, np.bool_)
    return np.stack([nothing if crop.ignore is None else crop.ignore for crop in crops])


def finetune_loss(raw: DenseOutput, wanted: Targets, config: NetworkTrainConfig) -> Tensor:
    """Method D: structural-similarity and focal loss of the classes; and the maps'."""
    similarity = losses.structural_similarity_loss(raw.classes, wanted.classes, form=config.similarity)
    classes = similarity + losses.focal_loss(raw.classes, wanted.classes)
    return classes + config.map_weight * losses.map_loss(raw.maps, wanted.maps, wanted.nuclei, wanted.known)


class MapWeight(Protocol):
    """Settings that say how much the maps count."""

    @property
    def map_weight(self) -> float: ...


def unet_loss(raw: DenseOutput, wanted: Targets, config: MapWeight) -> Tensor:
    """Cross-entropy and soft Dice of the classes; and the maps'."""
    maps = losses.map_loss(raw.maps, wanted.maps, wanted.nuclei, wanted.importance)
    return _entropy_and_dice(raw.classes, wanted.classes, wanted.importance) + config.map_weight * maps


def _entropy_and_dice(logits: Tensor, target: Tensor, importance: Tensor | None = None) -> Tensor:
    return losses.cross_entropy(logits, target, importance) + losses.soft_dice_loss(logits.softmax(1), target)


def hovernet_loss(raw: DenseOutput, wanted: Targets, config: NetworkTrainConfig) -> Tensor:
    """Cross-entropy and Dice of nuclei, and of types where there are any; squared error of H and V
    and of their gradients."""
    assert raw.nuclei is not None
    maps = raw.maps
    inside = wanted.nuclei
    targets = inside.long()
    if wanted.known is None:
        squared = (maps - wanted.maps).square().mean()
    else:
        # No error where pixels are ignored: slopes look at neighbours, which may lie there.
        maps = torch.where(wanted.known[:, None], maps, wanted.maps)
        squared = losses.map_loss(maps, wanted.maps, torch.ones_like(inside), wanted.known)
        inside = inside & wanted.known
        targets = targets.masked_fill(~wanted.known, losses.IGNORE)
    shapes = squared + losses.gradient_loss(maps, wanted.maps, inside)
    nuclei = _entropy_and_dice(raw.nuclei, targets)
    if raw.classes is raw.nuclei:
        return nuclei + shapes
    return nuclei + shapes + _entropy_and_dice(raw.classes, wanted.classes)


Loss = Callable[[DenseOutput, Targets, "NetworkTrainConfig"], Tensor]
LOSSES: dict[str, Loss] = {
    "finetune": finetune_loss,
    "hovernet": hovernet_loss,
    "unet": unet_loss,
    "attention-unet": unet_loss,
}
"""Method -> its loss."""
