"""A model's outline: all that planning needs to know of it, from its file's header, without PyTorch.

Weights are not looked at. That they are finite and fit the network that the header describes is found
when the model is loaded, which is the first thing that a run does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.file_header import file_sha256, require_header
from wsinuc.models.checkpoints.header import Mpp, from_header
from wsinuc.segmenters import check_method
from wsinuc.segmenters.base import Classes, Margin, Needs, Tile, Tiled
from wsinuc.segmenters.on_base import TiledOnBase
from wsinuc.segmenters.shipped import check_member, member_path, model_path
from wsinuc.segmenters.tiling import Tiling, check_separation, check_tiling, typed_channels, typed_halo
from wsinuc.separation.settings import WatershedSettings
from wsinuc.typed_json import one_line
from wsinuc.urls import PathLike


@dataclass(frozen=True, slots=True, kw_only=True)
class TilingSettings:
    """What the headers of all methods have in common; each method's own config has these fields, too."""

    watershed: WatershedSettings
    separation: str
    classes: Classes
    tile: Tile = 512
    margin: Margin = 32
    mpp_range: tuple[Mpp, Mpp] | None = None

    def __post_init__(self) -> None:
        check_separation(self.separation)
        check_tiling(self.tile, self.margin, self.mpp_range, self.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TypedHeader:
    base: dict[str, Any]
    classes: Classes


@dataclass(frozen=True, slots=True, kw_only=True)
class _MeasuredHeader:
    base: dict[str, Any]
    classes: Classes
    needs: Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class _MemberFile:
    model: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _JointHeader:
    members: tuple[_MemberFile, ...]
    inside: tuple[dict[str, Any], ...] = ()


class ModelOutline(Tiling):
    """How a model sees a slide: a `wsinuc.segmenters.base.Tiled` and no more."""

    config: TilingSettings

    def __init__(self, config: TilingSettings) -> None:
        self.config = config


class TypedOutline(ModelOutline):
    """The same of a model that classifies the nuclei of another one."""

    def __init__(self, base: TilingSettings, classes: Classes) -> None:
        super().__init__(base)
        self._classes = classes

    @property
    def min_halo(self) -> int:
        """Pixels to read around a block."""
        return typed_halo(super().min_halo, self.mpp)

    @property
    def classes(self) -> Classes:
        """What a nucleus can be."""
        return self._classes

    @property
    def channels(self) -> int:
        """Score channels."""
        base = ModelOutline(self.config)
        return typed_channels(base.channels, len(self._classes))


class MeasuredOutline(TiledOnBase):
    """The same of a model that names the nuclei of another one by what is measured of them."""

    def __init__(self, base: ModelOutline, classes: Classes, needs: Needs) -> None:
        self.base = base
        self.classes = classes
        self.needs = needs


def outline_model(model: PathLike) -> Tiled:
    """The outline of a shipped model, by its name, or of a checkpoint, by its path.

    Raises
    ------
    CheckpointError
        There is no such model, its file is incomplete or no segmenter's, its header contradicts itself, or a member
        of a joint model is missing or another one.
    """
    path = model_path(model)
    header = require_header(path, "segmenter")
    # Only the header is read here, so a truncated file would show no sooner than the model is loaded.
    _require_complete(path)
    try:
        if header.config.get("method") == "measured":
            measured = from_header(_MeasuredHeader, header.config, more=True)
            return MeasuredOutline(_outline(measured.base), measured.classes, measured.needs)
        return _outline(header.config)
    except ConfigError as error:
        raise CheckpointError(f"the model's header contradicts itself: {one_line(str(error))}") from error


def _outline(config: dict[str, Any]) -> ModelOutline:
    method = check_method(config)
    if method == "typed":
        typed = from_header(_TypedHeader, config, more=True)
        return TypedOutline(from_header(TilingSettings, typed.base, more=True), typed.classes)
    if method == "joint":
        _check_member_files(from_header(_JointHeader, config, more=True))
    return ModelOutline(from_header(TilingSettings, config, more=True))


def _check_member_files(header: _JointHeader) -> None:
    """Raise CheckpointError where a member's file is missing or another one; members inside have none."""
    if header.inside:
        return
    for member in header.members:
        # By their hashes: a model of the same name from another version would give other nuclei.
        check_member(member.model, member.sha256, file_sha256(member_path(member.model)))


def _require_complete(path: Path) -> None:
    """Raise CheckpointError unless the file is as long as its list of weights says."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no complete safetensors file ({error}): it may be truncated; copy it again"
        ) from error
