"""Several models as one: the mean of what they say, each of the tissue in one or more sizes.

Models that differ in build and training make different errors, and so does one model that is shown
the same nuclei larger or smaller; the mean of their scores is right more often than any of them (an
ensemble: Hansen & Salamon 1990), and where they differ, doubt is due. A joint model has no weights
of its own: it names the files of its members, and their hashes.

A model finds nuclei of the width that it was trained on best. So the mean area of nuclei in samples
of the slide says whether they are small, and such a slide is shown enlarged.

All members see the tiles of the joint model. A size other than 1 is a fraction whose grid repeats
with the tiles, so a place looks the same through whichever tile it is seen.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import cycle
from typing import Annotated, Any, cast

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch.nn import functional as F

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.grid import ceil_div
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.models.features.views import MOST, View, views
from wsinuc.nuclei.classes import PRINTABLE
from wsinuc.segmenters.base import Certainty, Classes, Fitted, Margin, Tile
from wsinuc.segmenters.normalisation import ColourNormalisation, recoloured
from wsinuc.segmenters.shipped import check_member
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.segmenters.tiling import MAPS, check_tiling
from wsinuc.separation.channels import DISAGREEMENT, FIRST_CLASS, FOREGROUND
from wsinuc.separation.joining import Joining
from wsinuc.separation.watershed import WatershedSettings

METHOD = "joint"
COLOURS, ENLARGES = "colours", "enlarges"
"""Names among the statistics: the table of a slide's colours, and, where it is shown enlarged, that it is."""
FEWEST = 50
"""Whole nuclei without which samples do not tell whether they are small."""
Sizes = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,2}(/[1-9][0-9]{0,2})?$")], ...], Meta(max_length=16)
]
LARGEST = 8
"""No size shows the tissue larger, or that much smaller."""
RIM = 32
"""Pixels around what is kept that are scored besides where sizes differ, for the interpolation back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of several."""

    model: Annotated[str, Meta(min_length=1, max_length=4096, pattern=PRINTABLE)]
    """Name of a shipped model's file, without ending, or path of a checkpoint."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of its file: another model of that name is refused."""
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
    """Of each view in the mean."""
    enlarged: Sizes = ()
    """The sizes instead of these on a slide whose nuclei are small."""


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
    joining: Joining | None = None
    """How fragments of nuclei are joined; None cuts at `WatershedSettings.marker_height`."""
    colours: ColourNormalisation | None = None
    """Where a slide's colours are brought to before any member sees them; None leaves them."""
    small_um2: Annotated[float, Meta(ge=0, le=1e5)] = 0.0
    """Mean area of a slide's nuclei below which members see it ``enlarged``; 0 is never."""
    method: str = METHOD

    def __post_init__(self) -> None:
        if self.separation not in MAPS:
            raise ConfigError(f"separation must be one of {', '.join(MAPS)}, got {self.separation!r}")
        check_tiling(self.tile, self.margin, self.mpp_range, self.classes)
        if not self.members or not all(member.sizes and member.weight > 0 for member in self.members):
            raise ConfigError("a joint model needs members, each with a size and a weight above 0")
        if self.small_um2 and not all(member.enlarged for member in self.members):
            raise ConfigError("where slides of small nuclei are enlarged, each member needs sizes for them")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JointConfig:
        """The config from a checkpoint's header; raises CheckpointError when fields are missing,
        unknown or out of range."""
        return from_header(cls, data)


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
        self.device, self.dtype = models[0].device, models[0].dtype
        self.weights_sha256 = weights_sha256
        self.colours: NDArray[np.float32] | None = None
        self.enlarges = False
        for model in models:
            for what, own, other in (
                ("um per pixel", self.mpp, model.mpp),
                ("separation", config.separation, model.config.separation),
                ("classes", config.classes, model.classes),
            ):
                if own != other:
                    raise ConfigError(f"members of a joint model share its {what}: expected {own}, got {other}")
        for member, model in zip(config.members, models, strict=True):
            for sizes in (member.sizes, member.enlarged):
                self._views(sizes, member, model)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> JointSegmenter:
        """A segmenter from a checkpoint of the method ``joint``; raises CheckpointError, also for missing members."""
        from wsinuc.segmenters import member_path, segmenter_from

        config, models = JointConfig.from_json(checkpoint.config), []
        for member in config.members:
            found = load_checkpoint(member_path(member.model), "segmenter")
            check_member(member.model, member.sha256, found.sha256)
            if found.config.get("method") in (METHOD, "typed"):
                raise CheckpointError(
                    f"the joint model's member {member.model[:200]!r} is itself put together of others: "
                    "members have weights"
                )
            seen = _blurring(found, member) if member.blur != 1 else found
            models.append(cast(TiledSegmenter, segmenter_from(seen, device=device, dtype=dtype)))
        try:
            return cls(config, models, weights_sha256=checkpoint.sha256)
        except ConfigError as error:
            raise CheckpointError(f"the members of the joint model do not fit its header: {error}") from error

    def calibrate(self, samples: NDArray[np.uint8]) -> JointSegmenter:
        """A copy with the colours of these samples of a slide and the size of their nuclei, members
        fitted to what they see."""
        fitted = copy.copy(self)
        fitted.colours = self.config.colours.table(samples) if self.config.colours else None
        seen = recoloured(samples, fitted.colours)
        fitted.enlarges = self._has_small_nuclei(seen)
        fitted.models = tuple(
            cast(Any, model).calibrate(_sized(seen, Fraction(fitted.sizes(member)[0])))
            for member, model in zip(self.config.members, self.models, strict=True)
        )
        return fitted

    def sizes(self, member: Member) -> tuple[str, ...]:
        """In which sizes a member sees the slide."""
        return member.enlarged if self.enlarges else member.sizes

    def _has_small_nuclei(self, samples: NDArray[np.uint8]) -> bool:
        """Whether the nuclei that the last member finds in these samples are small on average; not if they are few."""
        if not self.config.small_um2:
            return False
        model = self.models[-1]
        around = [(0, 0), (model.margin, model.margin), (model.margin, model.margin), (0, 0)]
        scorer = cast(Any, model.calibrate(samples)).with_core(samples.shape[1])  # type: ignore[attr-defined]
        areas: list[int] = []
        for sample in samples:
            labels = self.separate(scorer.predict(np.pad(sample[None], around, mode="symmetric"))[0])
            areas += _whole_areas(labels)
        return len(areas) >= FEWEST and float(np.mean(areas)) * self.mpp**2 < self.config.small_um2

    def statistics(self) -> dict[str, NDArray[np.float32]]:
        """What ``calibrate`` has found: the colours, whether it enlarges, and what each member found, by its number."""
        own = {} if self.colours is None else {COLOURS: self.colours}
        if self.enlarges:
            own[ENLARGES] = np.ones(1, np.float32)
        members = {
            f"{number}.{name}": values
            for number, model in enumerate(self.models)
            if isinstance(model, Fitted)
            for name, values in model.statistics().items()
        }
        return own | members

    def with_statistics(self, statistics: dict[str, NDArray[np.float32]]) -> JointSegmenter:
        """A copy on the same weights with the statistics of a calibrated one."""
        fitted, models = copy.copy(self), []
        for number, model in enumerate(self.models):
            prefix = f"{number}."
            own = {name.removeprefix(prefix): v for name, v in statistics.items() if name.startswith(prefix)}
            models.append(cast(Any, model).with_statistics(own) if own else model)
        fitted.models, fitted.colours = tuple(models), statistics.get(COLOURS)
        fitted.enlarges = ENLARGES in statistics
        return fitted

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB ``(n, tile, tile, 3)`` to scores ``(n, channels, stride, stride)``."""
        pixels = recoloured(pixels, self.colours)
        total = np.zeros((), np.float32)
        entropy = np.zeros((), np.float32)
        weights = 0.0
        for member, model in zip(self.config.members, self.models, strict=True):
            for view in self._views(self.sizes(member), member, model):
                scores = view.scores(pixels, model)
                total = total + member.weight * scores
                entropy = entropy + member.weight * (_entropy(scores, self) - scores[:, DISAGREEMENT])
                weights += member.weight
        mean = total / weights
        # Entropy of the mean less the mean entropy, over all members of all models: those inside a
        # model differ by its own doubt.
        mean[:, DISAGREEMENT] = np.clip(_entropy(mean, self) - entropy / weights, 0, 1)
        return np.rint(mean * 255).astype(np.uint8)

    def _views(self, sizes: Sequence[str], member: Member, model: TiledSegmenter) -> list[_View]:
        """How a member sees a tile; raises ConfigError where a size does not fit the tiles."""
        ways = views(MOST, model.grain, turned=member.turned and self.config.separation == "distance")
        return [
            _View.of(Fraction(size), way, self.config, model) for size, way in zip(sizes, cycle(ways), strict=False)
        ]


def _blurring(found: Checkpoint, member: Member) -> Checkpoint:
    """A plain U-Net that sees the tissue through the member's filter."""
    if found.config.get("method") != "unet":
        raise CheckpointError(f"only a plain U-Net has a filter, and {member.model!r} is none: leave out its blur")
    return replace(found, config=found.config | {"network": found.config["network"] | {"blur": member.blur}})


def _entropy(scores: NDArray[np.float32], segmenter: TiledSegmenter) -> NDArray[np.float32]:
    """``(n, h, w)`` entropy over background and classes, in units of log 2 as disagreement is."""
    classes = scores[:, FIRST_CLASS : FIRST_CLASS + len(segmenter.classes)]
    p = np.concatenate([1 - scores[:, FOREGROUND : FOREGROUND + 1], classes], axis=1).clip(1e-6, 1)
    result: NDArray[np.float32] = -(p * np.log2(p)).sum(1, dtype=np.float32)
    return result


@dataclass(frozen=True, slots=True)
class _View:
    """One way in which a member sees a tile; all sides in pixels of what it sees but for ``kept``."""

    size: Fraction
    way: View
    """How it is turned and moved."""
    kept: int
    """Side of what is scored, in pixels of the joint model; the rim included."""
    tile: int
    """Side of the whole tile as it is seen."""
    core: int
    """Side of what is scored, as it is seen."""
    scored: int
    """Side that the member scores, at least that and what the view is moved by."""

    @classmethod
    def of(cls, size: Fraction, way: View, config: JointConfig, model: TiledSegmenter) -> _View:
        """The view; raises ConfigError where grids do not fit."""
        if not Fraction(1, LARGEST) <= size <= LARGEST:
            raise ConfigError(f"a size lies between 1/{LARGEST} and {LARGEST}, got {size}")
        inner = config.tile - 2 * config.margin
        kept = inner if size == 1 else inner + 2 * RIM
        tile, core, period = (size * side for side in (config.tile, kept, inner))
        if any(side.denominator != 1 for side in (tile, core, period)) or (tile - core) % 2:
            raise ConfigError(
                f"a size of {size} does not fit tiles of {config.tile} px with a margin of {config.margin}"
            )
        scored = ceil_div(int(core) + way.moved, model.grain) * model.grain
        room = int(tile - core) // 2 - max(way.moved, scored - int(core) - way.moved)
        if room < model.margin:
            raise ConfigError(
                f"at a size of {size} a member needs {model.margin} px around what it scores, tiles leave {room}"
            )
        return cls(size, way, kept, int(tile), int(core), scored)

    def scores(self, pixels: NDArray[np.uint8], model: TiledSegmenter) -> NDArray[np.float32]:
        """What the member says of tiles ``(n, tile, tile, 3)`` of the joint model, in [0, 1], on the inner pixels."""
        turned = np.rot90(pixels, self.way.quarters, (1, 2))
        seen = turned if self.size == 1 else _resized(turned, self.tile)
        moved, margin = self.way.moved, model.margin
        first, side = (self.tile - self.core) // 2 - margin - moved, self.scored + 2 * margin
        part = np.ascontiguousarray(seen[:, first : first + side, first : first + side])
        found = cast(Any, model.with_core(self.scored)).predict(part)
        kept = found[:, :, moved : moved + self.core, moved : moved + self.core]
        return np.rot90(self._back(np.divide(kept, np.float32(255), dtype=np.float32)), -self.way.quarters, (2, 3))

    def _back(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of what was kept as those of the inner pixels of the joint model."""
        if self.size == 1:
            return scores
        back = F.interpolate(
            torch.from_numpy(scores), size=(self.kept, self.kept), mode="bilinear", antialias=self.size > 1
        )
        inner: NDArray[np.float32] = back[:, :, RIM:-RIM, RIM:-RIM].numpy()
        return inner


def _whole_areas(labels: NDArray[np.int32]) -> list[int]:
    """Pixels of the nuclei that the array's edge does not cut."""
    counts = np.bincount(labels.ravel())
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        counts[edge] = 0
    return [int(count) for count in counts[1:] if count]


def _sized(pixels: NDArray[np.uint8], size: Fraction) -> NDArray[np.uint8]:
    """Squares ``(n, h, h, 3)`` as seen in this size, their side rounded."""
    return pixels if size == 1 else _resized(pixels, round(pixels.shape[1] * size))


def _resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Tiles ``(n, h, h, 3)`` with another side, as slides are resampled: by triangles as wide as the coarser pixel."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    resized = F.interpolate(x, size=(side, side), mode="bilinear", antialias=side < pixels.shape[1])
    return resized.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def joint_checkpoint(config: JointConfig, provenance: dict[str, Any]) -> Checkpoint:
    """A joint model as a checkpoint of kind ``segmenter``, without a tensor."""
    return Checkpoint(kind="segmenter", config=asdict(config), provenance=provenance, tensors={})
