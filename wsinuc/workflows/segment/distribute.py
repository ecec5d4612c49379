"""What changes when the blocks of a slide are made by other processes: nothing in the result, by the checks made here.

What the result depends on besides slide and settings is known by the workers alone: how the
segmenter computes there. So one of them is asked before the run begins, and then every worker shows
that it computes alike and sees the same slide and output.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import wsinuc
from wsinuc.config import SegmentConfig
from wsinuc.errors import ClusterError
from wsinuc.grid import Block
from wsinuc.nuclei import Nuclei
from wsinuc.pipeline.block_worker import (
    BlockTask,
    BlockWorker,
    CheckTask,
    DescribeTask,
    FitTask,
    SlideSpec,
    check_output,
)
from wsinuc.pipeline.executor import Executor
from wsinuc.store import Entry, ResultStore
from wsinuc.workflows.segment.model_file import source_of
from wsinuc.workflows.segment.plan import Plan, Prepared


def as_workers_see_it(plan: Plan, prepared: Prepared, config: SegmentConfig, executor: Executor) -> Plan:
    """The plan with the segmenter's identity, device and batch size as they are on a worker.

    Raises
    ------
    ClusterError
        A worker has another version of wsinuc.
    CheckpointError, DeviceError
        It cannot load the model.
    """
    if executor.shares_memory:
        return plan
    source = source_of(prepared.segmenter, config)
    with closing(executor.run(DescribeTask(source), [None], accelerator=True)) as answers:
        _, facts = next(answers)
    if facts.wsinuc != wsinuc.__version__:
        raise ClusterError(
            f"the workers have wsinuc {facts.wsinuc}, this is {wsinuc.__version__}: install the same version"
        )
    on_worker = {
        "segmenter": facts.segmenter,
        "device": facts.device,
        "batch_size": config.batch_size or facts.batch_size,
    }
    return replace(plan, settings={**plan.settings, **on_worker})


def block_job(
    executor: Executor, prepared: Prepared, plan: Plan, store: ResultStore, config: SegmentConfig
) -> Callable[[Block], Entry]:
    """What a worker does with a block; the segmenter is fitted to the slide, and every worker checked.

    Raises
    ------
    ClusterError
        A worker does not see the slide, the model or the output as they are seen here, or computes otherwise.
    """
    if executor.shares_memory:
        worker = BlockWorker(prepared.view, prepared.selection, prepared.segmenter, store, config)
        # Before the blocks, so that none of them waits for it.
        worker.fit()
        worker.groups()
        return lambda block: worker.segment(block, config.batch_size)
    spec = _spec(prepared, plan, store, config)
    _check_workers(executor, spec, store)
    with closing(executor.run(FitTask(spec), [None], accelerator=True)) as answers:
        list(answers)
    return BlockTask(spec)


def render_job(
    executor: Executor, job: Callable[[Block], object], store: ResultStore, plan: Plan
) -> Callable[[Block], object]:
    """``job`` as it is done by workers: one that has joined late, or has no accelerator, was never checked."""
    if executor.shares_memory:
        return job
    return _CheckedJob(job, ResultStore(store.directory.absolute()), plan.run_id)


@dataclass(frozen=True, slots=True)
class _CheckedJob:
    job: Callable[[Block], object]
    store: ResultStore
    run_id: str

    def __call__(self, block: Block) -> None:
        check_output(self.store, self.run_id)
        self.job(block)

    def __str__(self) -> str:
        return f"label image of {self.store.directory.name}"


def _spec(prepared: Prepared, plan: Plan, store: ResultStore, config: SegmentConfig) -> SlideSpec:
    path = prepared.slide.path
    assert path is not None  # segment_slide opens files
    tissue = config.tissue
    if tissue not in ("auto", "none"):
        tissue = Path(tissue).absolute()
    # All paths are absolute, because workers have another current folder.
    return SlideSpec(
        slide=path.absolute() if isinstance(path, Path) else path,
        reader=prepared.slide.reader,
        fingerprint=plan.settings["slide"],
        config=replace(
            config,
            tissue=tissue,
            roi=None if config.roi is None else Path(config.roi).absolute(),
            batch_size=plan.settings["batch_size"],
        ),
        source=source_of(prepared.segmenter, config),
        directory=store.directory.absolute(),
        run_id=plan.run_id,
        identity=plan.settings["segmenter"],
        tissue=plan.settings["tissue"],
    )


def _check_workers(executor: Executor, spec: SlideSpec, store: ResultStore) -> None:
    """Have every worker set up its block worker, and look for the token that it leaves in the output."""
    for address, token in executor.everywhere(CheckTask(spec), accelerator=True).items():
        path = store.work / "blocks" / token
        if not path.is_file():
            raise ClusterError(
                f"worker {address} writes to another {spec.directory} than this process: mount the output at "
                "the same path"
            )
        path.unlink()


@dataclass(frozen=True, slots=True)
class PartReader:
    """Numbered nuclei of a block, in whatever process it is called; small, because it travels with every task."""

    store: ResultStore
    owners: bytes
    """One bit for each block: whether it owns nuclei."""

    @classmethod
    def of(cls, store: ResultStore, owners: Container[int], blocks: int) -> PartReader:
        """A reader of the parts of those blocks that own nuclei, of all ``blocks``."""
        # Packed, because it travels with every task: 40,000 blocks are 5 kB.
        bits = np.packbits([index in owners for index in range(blocks)])
        return cls(ResultStore(store.directory.absolute()), bits.tobytes())

    def __call__(self, block: int) -> Nuclei | None:
        """The nuclei; None for a block that owns none."""
        owns = self.owners[block // 8] >> (7 - block % 8) & 1
        if owns:
            return self.store.parts.read(block)
        return None
