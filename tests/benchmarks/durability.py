"""What it costs that a finished block survives a power cut, and a finished result.

    PYTHONPATH=.:tests python tests/benchmarks/durability.py --folder /the/disk [--blocks 200]

Blocks of about 1,000 nuclei are stored as a run stores them: shard, then ledger entry. With
everything synced; with the files synced and not their folders; with nothing synced. The three take
turns, block by block, so that whatever else the machine does hits all alike. Then as many parts and
shards of label images as a result of that many blocks has are published, with and without syncs.
Medians; the disk decides, so give the folder that results go to.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from helpers.oracle import CLASSES, MPP, PERIOD, scores_of, stamp
from wsinuc import durable
from wsinuc.grid import Box
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.separation.watershed import WatershedSettings, instances_from_distance
from wsinuc.store import Entry, ResultStore

KINDS = ("everything synced", "files synced", "nothing synced")
SHARD_BYTES = 40_000
"""Of a label image's shard, about."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=200)
    options = parser.parse_args()
    nuclei = some_nuclei()
    folder = options.folder / "durability"
    try:
        blocks = _time_blocks(folder, nuclei, options.blocks)
        publishing = {kind: _time_publishing(folder, nuclei, options.blocks, kind) for kind in KINDS[::2]}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(nuclei)} nuclei per block\n\n| | ms per block | publishing, ms per block |\n|---|---|---|")
    for kind in KINDS:
        last = f"{publishing[kind]:.2f}" if kind in publishing else ""
        print(f"| {kind} | {blocks[kind]:.2f} | {last} |")


def some_nuclei() -> Nuclei:
    """The nuclei of one period of the plane."""
    scores = scores_of(stamp())
    labels = instances_from_distance(scores[0], scores[-1], WatershedSettings(mpp=MPP))
    box = Box.of_shape((PERIOD, PERIOD))
    return measure(labels, scores, box, Frame(mpp=MPP, downsample=(1.0, 1.0)), CLASSES)


def _time_blocks(folder: Path, nuclei: Nuclei, count: int) -> dict[str, float]:
    """Median ms for storing a block, by kind."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    store = ResultStore(folder / "blocks.wsinuc")
    with store.open_run({}, resume=False, overwrite=True):
        for index in range(count * len(KINDS)):
            kind = KINDS[index % len(KINDS)]
            entry = Entry(
                block=index, nuclei=len(nuclei), shard_sha256=None, unreadable=(), tiles=1, at_edge=0, seconds={}
            )
            with _syncing(kind):
                times[kind].append(_ms(lambda entry=entry: store.add(entry, nuclei)))
    return {kind: statistics.median(values) for kind, values in times.items()}


def _time_publishing(folder: Path, nuclei: Nuclei, blocks: int, kind: str) -> float:
    """Ms per block for bringing as many parts and image shards to their names; the hashing of the
    manifest is in both."""
    store = ResultStore(folder / f"{kind}.wsinuc")
    rng = np.random.default_rng(0)
    with store.open_run({}, resume=False, overwrite=True):
        store.start_outputs()
        for index in range(blocks):
            for image in ("nuclei", "nuclei_class"):
                shard = store.ready / "labels.ome.zarr" / "labels" / image / "0" / "c" / str(index) / "0"
                shard.parent.mkdir(parents=True)
                shard.write_bytes(rng.bytes(SHARD_BYTES))
            store.part(index).write_bytes(rng.bytes(nuclei_bytes(nuclei)))
        with _syncing(kind):
            return _ms(lambda: store.publish({})) / blocks


def nuclei_bytes(nuclei: Nuclei) -> int:
    """Size of the file of a table, about."""
    return 178 * len(nuclei)


@contextmanager
def _syncing(kind: str) -> Iterator[None]:
    if kind == "nothing synced":
        with mock.patch.object(os, "fsync", return_value=None):
            yield
    elif kind == "files synced":
        with mock.patch.object(durable, "sync", return_value=None):
            yield
    else:
        yield


def _ms(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
