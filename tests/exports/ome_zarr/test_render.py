"""Label images against painting the whole table into one array, and against the format's own models."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image

from helpers.oracle import CLASSES, OracleSegmenter, plane, scores_of
from wsinuc.exports.ome_zarr.arrays import chunk_side, level_shapes
from wsinuc.exports.ome_zarr.render import render_labels
from wsinuc.grid import Block, BlockGrid, Box
from wsinuc.labels import paint_outlines
from wsinuc.nuclei import Frame, Nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.pipeline.run import run_blocks

SHAPE = (1100, 700)


@pytest.fixture(scope="module")
def nuclei() -> Nuclei:
    scores = scores_of(plane(SHAPE))
    frame = Frame(mpp=0.5, downsample=(1.0, 1.0))
    return measure(OracleSegmenter().separate(scores), scores, Box.of_shape(SHAPE), frame, CLASSES).with_ids(1)


def owned_by(nuclei: Nuclei, grid: BlockGrid) -> dict[int, Nuclei]:
    found = {}
    for block in grid:
        y, x = nuclei.centroids.T
        inside = (y >= block.core.y0) & (y < block.core.y1) & (x >= block.core.x0) & (x < block.core.x1)
        if inside.any():
            found[block.index] = nuclei.select(inside)
    return found


def render(nuclei: Nuclei, path: Path, block: int = 256, **options: object) -> zarr.Group:
    grid = BlockGrid(SHAPE, block, 100)
    render_labels(owned_by(nuclei, grid).get, grid, path, mpp=0.5, classes=CLASSES, **options)  # type: ignore[arg-type]
    return zarr.open_group(path, mode="r")


@pytest.mark.parametrize("block", [256, 448, 2048])
def test_images_equal_painting_everything_at_once(nuclei: Nuclei, tmp_path: Path, block: int) -> None:
    root = render(nuclei, tmp_path / "a.zarr", block)
    box = Box.of_shape(SHAPE)
    labels = paint_outlines(nuclei.outlines, nuclei.offsets, nuclei.ids, box, dtype=np.uint32)
    classes = paint_outlines(nuclei.outlines, nuclei.offsets, nuclei.classes + 1, box, dtype=np.uint8)
    for name, expected in (("nuclei", labels), ("nuclei_class", classes)):
        for level in range(3):
            image = root[f"labels/{name}/{level}"]
            np.testing.assert_array_equal(image[:], expected[:: 2**level, :: 2**level])
            assert image.dtype == expected.dtype
    assert f"labels/{name}/3" not in root
    np.testing.assert_array_equal(np.bincount(labels.ravel())[1:], nuclei.areas_px)


def test_the_format_is_valid_and_has_the_physical_scale(nuclei: Nuclei, tmp_path: Path) -> None:
    root = render(nuclei, tmp_path / "a.zarr")
    image = Image.from_zarr(root)
    labels = image.labels
    assert labels is not None
    assert labels.label_paths == ["nuclei", "nuclei_class"]
    for name in labels.label_paths:
        attributes = root[f"labels/{name}"].attrs["ome"]
        multiscale = attributes["multiscales"][0]
        assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer"] * 2
        scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscale["datasets"]]
        assert scales == [[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]]
        assert root[f"labels/{name}/0"].metadata.dimension_names == ("y", "x")
        assert (tmp_path / "a.zarr" / "labels" / name / attributes["image-label"]["source"]["image"]).resolve() == (
            tmp_path / "a.zarr"
        ).resolve()
    table = root["labels/nuclei_class"].attrs["ome"]["image-label"]
    assert [item["rgba"] for item in table["colors"]] == [[0, 0, 0, 0], [200, 40, 40, 255], [40, 90, 200, 255]]
    assert [item["name"] for item in table["properties"]] == ["background", "round", "long"]


def test_workers_change_no_byte_and_write_each_file_once(nuclei: Nuclei, tmp_path: Path) -> None:
    drawn: Counter[int] = Counter()
    lock = threading.Lock()

    def for_each(job: Callable[[Block], object], blocks: Iterable[Block]) -> None:
        def counted(block: Block) -> None:
            with lock:
                drawn[block.index] += 1
            job(block)

        for _ in run_blocks(counted, list(blocks)[::-1], 4):
            pass

    render(nuclei, tmp_path / "a.zarr")
    render(nuclei, tmp_path / "b.zarr", for_each=for_each)
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    assert drawn[0] == 1 + 2 * 2  # once at full resolution, once per image and coarser level
    assert drawn[14] == 1


def test_background_leaves_no_files(nuclei: Nuclei, tmp_path: Path) -> None:
    corner = nuclei.select((nuclei.centroids < 200).all(axis=1))
    render(corner, tmp_path / "a.zarr")
    shards = [path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert len(shards) == 2 * 3


def test_no_nuclei_make_a_valid_blank_image(nuclei: Nuclei, tmp_path: Path) -> None:
    root = render(nuclei.select(np.zeros(len(nuclei), bool)), tmp_path / "a.zarr")
    assert not root["labels/nuclei/0"][:].any()
    assert Image.from_zarr(root).labels is not None


def test_a_chunk_fills_a_block_exactly() -> None:
    for block in range(64, 5000, 64):
        assert block % chunk_side(block) == 0
        assert 64 <= chunk_side(block) <= 512


def test_the_pyramid_ends_in_one_chunk() -> None:
    assert level_shapes((1, 1)) == [(1, 1)]
    assert level_shapes((512, 513))[-1] == (256, 257)


def tree(path: Path) -> dict[str, str]:
    files = (item for item in sorted(path.rglob("*")) if item.is_file())
    return {str(item.relative_to(path)): hashlib.sha256(item.read_bytes()).hexdigest() for item in files}
