"""Several models as one: the mean of what they say, each of the tissue in one or more sizes.

Models that differ in build and training make different errors, and so does one model that is shown
the same nuclei larger or smaller; the mean of their scores is right more often than any of them (an
ensemble: Hansen & Salamon 1990), and where they differ, doubt is due. A joint model has no weights
of its own: it names the files of its members, and their hashes. One that was adapted to a user's
nuclei (`wsinuc.workflows.adapt`) holds its members inside, so that it is a single file.

A model finds nuclei of the width that it was trained on best. So the mean area of nuclei in samples
of the slide says whether they are small, and such a slide is shown enlarged.

All members see the tiles of the joint model, each in its own way (`wsinuc.segmenters.member_view`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import cycle, islice
from math import lcm
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.metrics.shape_odds import ShapeOdds
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.checkpoints.weights import part_of
from wsinuc.models.features.views import MOST, views
from wsinuc.nuclei.classes import PRINTABLE
from wsinuc.segmenters import OF_WHOLE_NUCLEI
from wsinuc.segmenters.base import Certainty, Classes, Margin, Tile
from wsinuc.segmenters.member_view import MemberView, in_size
from wsinuc.segmenters.normalisation import ColourNormalisation, recoloured
from wsinuc.segmenters.shipped import check_member, member_path
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.segmenters.tiling import check_separation, check_tiling
from wsinuc.separation.channels import DISAGREEMENT, FIRST_CLASS, FOREGROUND
from wsinuc.separation.joining import Joining
from wsinuc.separation.settings import WatershedSettings

METHOD = "joint"
COLOURS = "colours"
"""Name among the statistics of the table of a slide's colours."""
ENLARGES = "enlarges"
"""Name among the statistics that says, where it is there, that the slide is shown enlarged."""
FEWEST = 50
"""Whole nuclei that samples must show before they tell whether nuclei are small."""
STRIP = 32
"""Rows of scores that are put together at once: what is computed meanwhile stays in the processor's cache, which takes
less than half of the time for a tile of 1,024 px."""
Sizes = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,2}(/[1-9][0-9]{0,2})?$")], ...], Meta(max_length=16)
]
"""Fractions as text, which JSON holds exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of several."""

    model: Annotated[str, Meta(min_length=1, max_length=4096, pattern=PRINTABLE)]
    """Name of a shipped model's file, without ending, or path of a checkpoint."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Hash of the model's file; another model of that name is refused. Of a member that lies inside the joint model's
    file, the hash of the file that it was tuned from."""
    sizes: Sizes = ("1",)
    """How large it sees the tissue, as fractions: ``5/4`` shows five pixels for four. All but the
    first are moved against what the network pools (`wsinuc.models.features.views`); a size may come
    twice."""
    turned: bool = True
    """Whether all but the first are turned, too, unless the maps say directions (H and V): a
    network is not quite the same for a turned image. Views that are not turned make up better for
    where the slide begins."""
    blur: Annotated[int, Meta(ge=1, le=63)] = 1
    """Taps of the filter that a plain U-Net sees the tissue through
    (`wsinuc.models.networks.supervised_unet`), whatever it was trained with; 1 leaves that."""
    weight: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    """Weight of each of its views in the mean."""
    enlarged: Sizes = ()
    """The sizes instead of these on a slide whose nuclei are small."""
    first_view: Annotated[int, Meta(ge=0, lt=MOST)] = 0
    """Which of the views its first size is seen in, 0 being the tile as it is: members that are moved differently make
    up together for where the slide begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointConfig:
    """Everything about a joint model."""

    members: Annotated[tuple[Member, ...], Meta(max_length=16)]
    watershed: WatershedSettings
    separation: str
    """``distance`` or ``hv``."""
    classes: Classes
    tile: Tile
    """Side of an input in pixels."""
    margin: Margin
    """Pixels of a tile's border whose scores are dropped."""
    mpp_range: tuple[Mpp, Mpp]
    """um per pixel of the slides it accepts, finest and coarsest."""
    certainty: Certainty = (1.0, 0.0)
    """Slope and offset that `wsinuc.metrics.calibration.fit_certainty` found; (1, 0) was not measured."""
    shape_odds: ShapeOdds | None = None
    """What outlines add to the log-odds of their pixels before that line; None is nothing."""
    joining: Joining | None = None
    """How fragments of nuclei are joined; None cuts at `WatershedSettings.marker_height`."""
    colours: ColourNormalisation | None = None
    """Where a slide's colours are brought to before any member sees them; None leaves them."""
    small_um2: Annotated[float, Meta(ge=0, le=1e5)] = 0.0
    """Mean area of a slide's nuclei below which members see it ``enlarged``; 0 is never."""
    inside: Annotated[tuple[dict[str, Any], ...], Meta(max_length=16)] = ()
    """Configs of members whose weights lie in the joint model's own file; empty where members have files."""
    method: str = METHOD

    def __post_init__(self) -> None:
        check_separation(self.separation)
        check_tiling(self.tile, self.margin, self.mpp_range, self.classes)
        if not self.members or not all(member.sizes and member.weight > 0 for member in self.members):
            raise ConfigError("a joint model needs members, each with a size and a weight above 0")
        if self.inside and len(self.inside) != len(self.members):
            raise ConfigError(f"{len(self.members)} members lie inside, or none, got {len(self.inside)}")
        if self.small_um2 and not all(member.enlarged for member in self.members):
            raise ConfigError("where slides of small nuclei are enlarged, each member needs sizes for them")


class JointSegmenter(TiledSegmenter):
    """Pixels to scores to instances with several models; see :class:`wsinuc.segmenters.base.Segmenter`.

    Parameters
    ----------
    models
        One per member of the config, of its resolution, classes and separation.

    Raises
    ------
    ConfigError
        They are not, or a size does not fit the tiles.
    """

    config: JointConfig

    def __init__(self, config: JointConfig, models: Sequence[TiledSegmenter], *, weights_sha256: str = "") -> None:
        self.config = config
        self.models = tuple(models)
        self.device = models[0].device
        self.dtype = models[0].dtype
        self.weights_sha256 = weights_sha256
        self.colours: NDArray[np.float32] | None = None
        self.enlarges = False
        for model in models:
            self._check_member(model)
        for member, model in zip(config.members, models, strict=True):
            for sizes in (member.sizes, member.enlarged):
                # Raises now what would otherwise stop the first tile.
                self._views(sizes, member, model)

    def _check_member(self, model: TiledSegmenter) -> None:
        """Raise ConfigError where a member says something else than the joint model."""
        for what, own, other in (
            ("um per pixel", self.mpp, model.mpp),
            ("separation", self.config.separation, model.config.separation),
            ("classes", self.classes, model.classes),
        ):
            if own != other:
                raise ConfigError(f"members of a joint model share its {what}: expected {own}, got {other}")

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> JointSegmenter:
        """A segmenter from a checkpoint of the method ``joint``; raises CheckpointError, also for missing members."""
        from wsinuc.segmenters import segmenter_from

        config = from_header(JointConfig, checkpoint.config)
        models = []
        for member, own in zip(config.members, member_checkpoints(config, checkpoint.tensors), strict=True):
            model = segmenter_from(through_filter(own, member), device=device, dtype=dtype)
            assert isinstance(model, TiledSegmenter)  # all methods but those that `_with_weights` refuses
            models.append(model)
        try:
            return cls(config, models, weights_sha256=checkpoint.sha256)
        except ConfigError as error:
            raise CheckpointError(f"the members of the joint model do not fit its header: {error}") from error

    @property
    def training_colours(self) -> ColourNormalisation | None:
        """Optical densities of the images that its members were trained on; None where they were not recorded."""
        return self.config.colours

    def calibrate(self, samples: NDArray[np.uint8]) -> JointSegmenter:
        """A copy with the colours of these samples of a slide and the size of their nuclei, members
        fitted to what they see."""
        fitted = copy.copy(self)
        fitted.colours = None
        if self.config.colours:
            fitted.colours = self.config.colours.table(samples)
        # Colours first, then the size of nuclei, then the members: each sees what it will see on the slide.
        seen = recoloured(samples, fitted.colours)
        fitted.enlarges = self._has_small_nuclei(seen)
        fitted.models = tuple(
            model.calibrate(in_size(seen, Fraction(fitted.sizes(member)[0])))
            for member, model in zip(self.config.members, self.models, strict=True)
        )
        return fitted

    @property
    def grain(self) -> int:
        """Of a side that is a multiple each member keeps whole pixels, and a multiple of its own grain."""
        steps = [
            (model.grain / Fraction(size)).numerator
            for member, model in zip(self.config.members, self.models, strict=True)
            for size in (*member.sizes, *member.enlarged)
        ]
        return lcm(*steps)

    def sizes(self, member: Member) -> tuple[str, ...]:
        """In which sizes a member sees the slide."""
        if self.enlarges:
            return member.enlarged
        return member.sizes

    def _has_small_nuclei(self, samples: NDArray[np.uint8]) -> bool:
        """Whether the nuclei that the last member finds in these samples are small on average; not if they are few."""
        if not self.config.small_um2:
            return False
        model = self.models[-1]
        around = [(0, 0), (model.margin, model.margin), (model.margin, model.margin), (0, 0)]
        # Whole samples as one tile each, their surroundings mirrored, since none is known.
        scorer = model.calibrate(samples).with_core(samples.shape[1])
        # By the cutoffs of its file, which `small_um2` was chosen with: others must not change what the network sees.
        own = self.with_cutoffs(self.own_cutoffs)
        areas: list[int] = []
        for sample in samples:
            labels = own.separate(scorer.predict(np.pad(sample[None], around, mode="symmetric"))[0])
            areas += _whole_areas(labels)
        return len(areas) >= FEWEST and float(np.mean(areas)) * self.mpp**2 < self.config.small_um2

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """What ``calibrate`` has measured: the colours, whether it enlarges, and each member's own, by its number."""
        if self.colours is None:
            own = {}
        else:
            own = {COLOURS: self.colours}
        if self.enlarges:
            own[ENLARGES] = np.ones(1, np.float32)
        members = {
            f"{number}.{name}": values
            for number, model in enumerate(self.models)
            for name, values in model.statistics().items()
        }
        return own | members

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> JointSegmenter:
        """A copy on the same weights with the statistics of a calibrated one."""
        models: list[TiledSegmenter] = []
        for number, model in enumerate(self.models):
            own = part_of(statistics, f"{number}.")
            if own:
                model = model.with_statistics(own)
            models.append(model)
        fitted = copy.copy(self)
        fitted.models = tuple(models)
        fitted.colours = statistics.get(COLOURS)
        fitted.enlarges = ENLARGES in statistics
        return fitted

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``."""
        pixels = recoloured(pixels, self.colours)
        seen = [
            (member.weight, view.scores(pixels, model))
            for member, model in zip(self.config.members, self.models, strict=True)
            for view in self._views(self.sizes(member), member, model)
        ]
        levels: NDArray[np.uint8] = np.empty(seen[0][1].shape, np.uint8)
        for first in range(0, levels.shape[2], STRIP):
            rows = np.s_[:, :, first : first + STRIP]
            levels[rows] = self._together([(weight, scores[rows]) for weight, scores in seen])
        return levels

    def _together(self, seen: Sequence[tuple[float, NDArray[np.float32]]]) -> NDArray[np.uint8]:
        """Weights and scores of all views as one."""
        total = np.zeros((), np.float32)
        entropy = np.zeros((), np.float32)
        weights = 0.0
        for weight, scores in seen:
            total = total + weight * scores
            entropy = entropy + weight * (_entropy(scores, self) - scores[:, DISAGREEMENT])
            weights += weight
        mean = total / weights
        # Entropy of the mean less the mean entropy, over all members of all models: those inside a
        # model differ by its own doubt.
        mean[:, DISAGREEMENT] = np.clip(_entropy(mean, self) - entropy / weights, 0, 1)
        levels: NDArray[np.uint8] = np.rint(mean * 255).astype(np.uint8)
        return levels

    def _views(self, sizes: Sequence[str], member: Member, model: TiledSegmenter) -> list[MemberView]:
        """How a member sees a tile; raises ConfigError where a size does not fit the tiles."""
        # H and V say directions, which a turned view would have to turn back.
        ways = views(MOST, model.grain, turned=member.turned and self.config.separation == "distance")
        return [
            MemberView.fit(Fraction(size), way, self.tile, self.margin, model)
            for size, way in zip(sizes, islice(cycle(ways), member.first_view, None), strict=False)
        ]


def member_checkpoints(config: JointConfig, tensors: Mapping[str, torch.Tensor]) -> list[Checkpoint]:
    """The members of a joint model: files of their own, or parts of its ``tensors``.

    Raises
    ------
    CheckpointError
        A file is missing or another one, a member has no weights of its own, or weights belong to no member.
    """
    if not config.inside:
        return [_with_weights(_member_file(member), member) for member in config.members]
    numbers = {str(number) for number in range(len(config.inside))}
    unknown = [name for name in tensors if name.partition(".")[0] not in numbers]
    if unknown:
        raise CheckpointError(f"the joint model's weights {unknown[0][:200]!r} belong to none of its members")
    members = []
    for number, (member, own) in enumerate(zip(config.members, config.inside, strict=True)):
        weights = part_of(tensors, f"{number}.")
        checkpoint = Checkpoint(kind="segmenter", config=own, provenance={}, tensors=weights, sha256=member.sha256)
        members.append(_with_weights(checkpoint, member))
    return members


def _member_file(member: Member) -> Checkpoint:
    """The file of a member; raises CheckpointError for another file."""
    checkpoint = load_checkpoint(member_path(member.model), "segmenter")
    check_member(member.model, member.sha256, checkpoint.sha256)
    return checkpoint


def _with_weights(checkpoint: Checkpoint, member: Member) -> Checkpoint:
    """The checkpoint; raises CheckpointError for one that is put together of others."""
    if checkpoint.config.get("method") in (METHOD, *OF_WHOLE_NUCLEI):
        raise CheckpointError(
            f"the joint model's member {member.model[:200]!r} is itself put together of others: members have weights"
        )
    return checkpoint


def through_filter(checkpoint: Checkpoint, member: Member) -> Checkpoint:
    """A member as the joint model uses it: a plain U-Net may see the tissue through a filter."""
    if member.blur == 1:
        return checkpoint
    return _blurred(checkpoint, member)


def _blurred(checkpoint: Checkpoint, member: Member) -> Checkpoint:
    """A plain U-Net that sees the tissue through the member's filter."""
    if checkpoint.config.get("method") != "unet":
        raise CheckpointError(f"only a plain U-Net has a filter, and {member.model!r} is none: leave out its blur")
    network = checkpoint.config["network"] | {"blur": member.blur}
    return replace(checkpoint, config=checkpoint.config | {"network": network})


def _entropy(scores: NDArray[np.float32], segmenter: TiledSegmenter) -> NDArray[np.float32]:
    """``(n, h, w)`` entropy over background and classes, in units of log 2 as disagreement is."""
    classes = scores[:, FIRST_CLASS : FIRST_CLASS + len(segmenter.classes)]
    # 0 log 0 is 0: a floor that no level of 1/255 reaches stands for it.
    p = np.concatenate([1 - scores[:, FOREGROUND : FOREGROUND + 1], classes], axis=1).clip(1e-6, 1)
    result: NDArray[np.float32] = -(p * np.log2(p)).sum(1, dtype=np.float32)
    return result


def _whole_areas(labels: NDArray[np.int32]) -> list[int]:
    """Pixels of the nuclei that the array's edge does not cut."""
    counts = np.bincount(labels.ravel())
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        counts[edge] = 0
    return [int(count) for count in counts[1:] if count]


def joint_checkpoint(config: JointConfig, provenance: dict[str, Any], members: Sequence[Checkpoint] = ()) -> Checkpoint:
    """A joint model as a checkpoint of kind ``segmenter``: without a tensor, or with those of ``members`` inside."""
    config = replace(config, inside=tuple(member.config for member in members))
    tensors = {
        f"{number}.{name}": value for number, member in enumerate(members) for name, value in member.tensors.items()
    }
    return Checkpoint(kind="segmenter", config=asdict(config), provenance=provenance, tensors=tensors)
