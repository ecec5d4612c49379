"""What segmenting a slide will take, found out before it is begun.

``prepare`` opens everything a run needs and checks everything that can be wrong, so that a run fails in the first
seconds or not at all. ``plan_segment`` stops there and says what would happen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import wsinuc
from wsinuc import own_files
from wsinuc.config import DEFAULTS, SegmentConfig, check_config
from wsinuc.errors import MppError, OutputError
from wsinuc.exports.ome_zarr.copy_plan import plan_copy
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.grid import Block, BlockGrid
from wsinuc.nuclei.measured_names import OF_PIXELS
from wsinuc.pipeline.search import needs_work, select_tiles
from wsinuc.pipeline.selection import TissueSelection, select
from wsinuc.segmenters.base import Measuring, Segmenter, Tiled, check_segmenter
from wsinuc.segmenters.cutoffs import Adjustable, Cutoffs, changed_cutoffs, with_cutoffs
from wsinuc.slides.base import Slide
from wsinuc.slides.identity.fingerprint import fingerprint, sha256_of
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.slides.view import SlideView
from wsinuc.store import ResultStore, settings_hash
from wsinuc.urls import PathLike, Place, PlaceLike, to_place

Model = TypeVar("Model")

NUCLEI_PER_MM2 = 3000
"""Usual density of tissue, for estimates."""
BYTES_PER_NUCLEUS = 2000
"""Table twice (while it is numbered), GeoJSON and label images together, with shape and stain."""
BYTES_PER_COPIED_PIXEL = 2.7
"""A thumbnail of dense tissue with its coarser levels."""
BYTES_PER_EXACT_PIXEL = 3.5
"""The same of a full copy, which keeps all bits."""
BASE_MEMORY = 450 * 2**20
"""Interpreter and libraries, without weights."""
BYTES_PER_PIXEL = 20
"""Memory of a block besides its scores: RGB, and what separation and rendering take, spread over all pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Estimate:
    """What a run has to do. Sizes in view pixels, which are the pixels that the model works on."""

    slide: Place
    out: Place
    work: Path
    """Directory in which the result is made: ``out`` itself, but for a URL."""
    reader: str
    level: int
    """Pyramid level that is read."""
    mpp: float
    """um per view pixel."""
    shape: tuple[int, int]
    blocks_total: int
    blocks: tuple[int, ...]
    """Indices of the blocks that hold tissue."""
    tiles: int
    """Network inputs. A process scores few of them twice, at the borders of stripes of blocks; processes share none."""
    tissue_share: float
    """0 to 1."""
    tissue_mm2: float
    slide_mm2: float
    left_out_share: dict[str, float]
    """Share of the slide, 0 to 1, by each kind of what is no tissue; empty unless tissue was searched for."""
    memory_bytes: int
    """Estimated peak, without the network's own."""
    disk_bytes: int
    """Estimated size of the result at a usual density of nuclei."""
    cutoffs: Cutoffs | None = None
    """From which probability and area there is a nucleus; None of a segmenter of another make."""
    own_cutoffs: Cutoffs | None = None
    """The same as the model's file has it."""

    def __repr__(self) -> str:
        blocks = f"{len(self.blocks):,} of {self.blocks_total:,} blocks, {self.tiles:,} tiles"
        return f"<wsinuc plan of {self.slide}: {self.tissue_mm2:.3g} mm2 of tissue in {blocks} at {self.mpp:g} um>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan(Estimate):
    """What a run will do, and with which settings."""

    settings: dict[str, Any]
    """Everything that the result depends on; an interrupted run continues only with the same."""

    @property
    def run_id(self) -> str:
        """Short name of ``settings``."""
        return settings_hash(self.settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """A slide as a model sees it, open and checked."""

    slide: Slide
    view: SlideView
    grid: BlockGrid
    selection: TissueSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Terrain):
    """Everything a run works with."""

    segmenter: Segmenter


def estimate_segment(slide_path: PlaceLike, out: PlaceLike, config: SegmentConfig) -> Estimate:
    """What ``segment_slide`` with the same arguments has to do, by the header of the model's file; writes nothing.

    No weights are loaded, and PyTorch is not either, unless ``config.device`` is one that has to be asked for.
    Raises what ``prepare`` raises, but for weights that do not fit their header.
    """
    from wsinuc.segmenters.outline import outline_model

    slide_path = to_place(slide_path)
    with open_isolated(slide_path, reader=config.reader, mpp=config.mpp) as slide:
        slide.require_mpp()
        model = _adjusted(outline_model(config.model), config)
        _check_device(config.device)
        terrain = _survey(slide, slide_path, config, model)
        return _estimate(terrain, model, config, slide_path, ResultStore(out, config.work))


def plan_segment(
    slide_path: PlaceLike, out: PlaceLike, config: SegmentConfig = DEFAULTS, segmenter: Segmenter | None = None
) -> Plan:
    """What `wsinuc.segment_slide` with the same arguments will do; nothing is segmented or written.

    Parameters
    ----------
    slide_path, out, config, segmenter
        As for `wsinuc.segment_slide`.

    Returns
    -------
    Plan
        Blocks, resolution, areas in mm2, memory and room on the disk that the run will take.

    Raises
    ------
    SlideError, MppError
        The slide cannot be opened, has no resolution, or one that the model was not made for.
    CheckpointError, DeviceError
        The model cannot be loaded.
    DataError
        The tissue mask or the region is not what it should be, or selects nothing.
    OutputError
        The result would not fit on the disk.

    Examples
    --------
    >>> import wsinuc
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> plan = wsinuc.plan_segment("examples/data/field.png", "field.wsinuc", config)
    >>> plan.reader, plan.shape, len(plan.blocks), round(plan.slide_mm2, 4)
    ('image', (479, 479), 1, 0.0143)
    """
    check_config(config)
    with prepare(slide_path, out, config, segmenter) as (_, plan):
        return plan


@contextmanager
def prepare(
    slide_path: PlaceLike, out: PlaceLike, config: SegmentConfig, segmenter: Segmenter | None = None
) -> Iterator[tuple[Prepared, Plan]]:
    """Open slide and model, choose the blocks, check what can be checked before hours of work.

    Raises
    ------
    SlideError, MppError
        The slide cannot be opened, has no resolution, or one that the model was not made for.
    CheckpointError, DeviceError
        The model cannot be loaded.
    DataError
        The tissue mask or the region is not what it should be, or selects nothing.
    OutputError
        The result would not fit on the disk.
    """
    slide_path = to_place(slide_path)
    with open_isolated(slide_path, reader=config.reader, mpp=config.mpp) as slide:
        # Before weights are loaded, which takes seconds.
        slide.require_mpp()
        if segmenter is None:
            segmenter = _load_segmenter(config)
        check_segmenter(segmenter)
        segmenter = _adjusted(segmenter, config)
        terrain = _survey(slide, slide_path, config, segmenter)
        estimate = _estimate(terrain, segmenter, config, slide_path, ResultStore(out, config.work))
        prepared = Prepared(**_fields(terrain), segmenter=segmenter)
        yield prepared, Plan(**_fields(estimate), settings=_settings(prepared, config))


def _survey(slide: Slide, path: Place, config: SegmentConfig, model: Tiled) -> Terrain:
    check_class_names(item.name for item in model.classes)
    if isinstance(model, Measuring):
        model.needs.check(config)
    check_mpp(slide.mpp, model, str(path))
    view = slide.at(model.mpp)
    return Terrain(
        slide=slide,
        view=view,
        grid=BlockGrid(view.shape, config.block, model.min_halo),
        selection=select(view, config, reach=model.min_halo),
    )


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a dataclass as they are; `dataclasses.asdict` would copy what they hold."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _check_device(name: str) -> None:
    """Raise DeviceError where a device is asked for that is not here; every machine has a processor."""
    if name not in ("auto", "cpu"):
        from wsinuc.models.devices import pick_device

        pick_device(name)


def _load_segmenter(config: SegmentConfig) -> Segmenter:
    """The model that the config names; imported here, so that a caller with a segmenter of its own needs no torch."""
    from wsinuc.segmenters import load_segmenter

    return load_segmenter(config.model, device=config.device)


def _adjusted(model: Model, config: SegmentConfig) -> Model:
    """The model with the cutoffs that are asked for."""
    return with_cutoffs(model, threshold=config.threshold, min_area_um2=config.min_area_um2)


def check_mpp(mpp: float, segmenter: Tiled, name: str) -> None:
    """Raise MppError for a slide that shows less (or absurdly more) than the model was trained to see."""
    finest, coarsest = segmenter.mpp_range
    if not finest <= mpp <= coarsest:
        raise MppError(
            f"{name} has {mpp:g} um per pixel, but the model takes {finest:g} to {coarsest:g} (it works at "
            f"{segmenter.mpp:g}): scan finer or use a model trained for such slides; if the slide's resolution "
            "is recorded wrongly, give it with --mpp"
        )


def _estimate(
    terrain: Terrain, segmenter: Tiled, config: SegmentConfig, slide_path: Place, store: ResultStore
) -> Estimate:
    """The estimate; raises OutputError where the disk has no room for the result."""
    view = terrain.view
    grid = terrain.grid
    selection = terrain.selection
    blocks = [block for block in grid if _is_needed(block, segmenter, selection)]
    mm2_per_px = (view.mpp / 1000) ** 2
    slide_px = view.shape[0] * view.shape[1]
    tissue_px = selection.wanted.area_px()
    # What one block reads at most: its halo, and the tiles that reach over that.
    read_px = (config.block + 2 * grid.halo + 2 * segmenter.tile) ** 2
    estimate = Estimate(
        slide=slide_path,
        out=store.out,
        work=store.directory,
        reader=terrain.slide.reader,
        level=view.level,
        mpp=view.mpp,
        shape=view.shape,
        blocks_total=len(grid),
        blocks=tuple(block.index for block in blocks),
        tiles=len({tile.core for block in blocks for tile in select_tiles(block.read, segmenter, selection)}),
        tissue_share=tissue_px / slide_px,
        tissue_mm2=tissue_px * mm2_per_px,
        slide_mm2=slide_px * mm2_per_px,
        left_out_share=selection.tissue.left_out(),
        memory_bytes=BASE_MEMORY + config.workers * read_px * (segmenter.channels + BYTES_PER_PIXEL),
        disk_bytes=int(tissue_px * mm2_per_px * (NUCLEI_PER_MM2 * BYTES_PER_NUCLEUS + _copied_bytes(view, config))),
        cutoffs=segmenter.cutoffs if isinstance(segmenter, Adjustable) else None,
        own_cutoffs=segmenter.own_cutoffs if isinstance(segmenter, Adjustable) else None,
    )
    _check_space(estimate)
    return estimate


def _copied_bytes(view: SlideView, config: SegmentConfig) -> float:
    """Bytes of the slide's copy per mm2 of tissue."""
    copy = plan_copy(view, config.image)
    if copy.pixels is None:
        return 0.0
    if copy.is_exact:
        per_pixel = BYTES_PER_EXACT_PIXEL
    else:
        per_pixel = BYTES_PER_COPIED_PIXEL
    return per_pixel * (1000 / copy.pixels.mpp) ** 2


def _is_needed(block: Block, segmenter: Tiled, selection: TissueSelection) -> bool:
    return selection.near_region(block.core) and needs_work(block, segmenter, selection)


def _settings(prepared: Prepared, config: SegmentConfig) -> dict[str, Any]:
    """Everything that the bytes of the result depend on, and nothing else."""
    slide = prepared.slide
    view = prepared.view
    segmenter = prepared.segmenter
    return {
        "wsinuc": wsinuc.__version__,
        "slide": fingerprint(slide.path) if slide.path else None,
        "reader": slide.reader,
        "level": view.level,
        "mpp": view.mpp,
        "shape": list(view.shape),
        "segmenter": segmenter.identity,
        "device": str(getattr(segmenter, "device", "cpu")).split(":")[0],
        "block": prepared.grid.block,
        "halo": prepared.grid.halo,
        "batch_size": config.batch_size or segmenter.batch_size,
        "tissue": prepared.selection.tissue_hash,
        "image": config.image,
        "roi": region_identity(config.roi, slide.origin) if config.roi else None,
        "measure": list(config.groups),
        "cells": config.cells,
        # Vectors that nothing is measured with change nothing.
        "stains": config.stains if not OF_PIXELS.isdisjoint(config.groups) else None,
        # What is usual needs no word, so that the settings of most slides stay what they are.
        **({"semantic": True} if config.semantic else {}),
        **changed_cutoffs(segmenter),
        **({} if config.outlines == "smooth" else {"outlines": config.outlines}),
        **({} if slide.header.dialect == "rgb" else {"dialect": slide.header.dialect}),
    }


def region_identity(roi: PathLike, origin_yx: tuple[int, int]) -> str:
    """Which region: the file, and on slides with bounds the corner that its coordinates count from."""
    file = sha256_of(Path(roi))[:32]
    if origin_yx == (0, 0):
        return file
    return f"{file} from {origin_yx[1]}, {origin_yx[0]}"


def _check_space(plan: Estimate) -> None:
    """Refuse to begin what the disk has no room for."""
    own_files.check_outside_results(plan.work)
    # The result's own folder need not exist yet; the nearest that does is on the same disk.
    parent = next(path for path in (plan.work, *plan.work.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise OutputError(f"cannot write into {parent}: it is no folder; choose another -o")
    free = shutil.disk_usage(parent).free
    if free < plan.disk_bytes:
        option = "-o" if plan.work == plan.out else "--work"
        raise OutputError(
            f"the result needs about {plan.disk_bytes / 1e9:.1f} GB, {parent} has {free / 1e9:.1f} GB free: "
            f"make room or choose another {option}"
        )
