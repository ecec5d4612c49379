"""Learning which fragments belong together: what a join is worth, and that the rule finds it again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.drawn import HALF, ellipses
from helpers.files.datasets import write_images
from helpers.oracle import OracleSegmenter
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.metrics.segmentation import score
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.separation.joining import DESCRIPTORS, join_tree
from wsinuc.separation.targets import centre_distance
from wsinuc.separation.watershed import fragments, instances_from_distance
from wsinuc.workflows.join.run import FEWEST, JoiningFit, Joins, fit_joining, gains_of, joins_of, regress, train_joining
from wsinuc_cli.commands.join import join as command

HEIGHT = 0.03


def scored(seed: int, size: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Crowded ellipses, and what a network that hesitates says of them: ``(3, h, w)``."""
    truth = ellipses((size, size), size * size // 400, seed)
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, truth.shape), 2.0) * 2.2
    distance = np.clip(ndimage.gaussian_filter(centre_distance(truth), 1.0) + noise * (truth > 0), 0, 1)
    foreground = (truth > 0) * 255
    return truth, np.stack([foreground, 0 * foreground, distance * 255]).astype(np.uint8)


def mean_aji(seeds: range, separate) -> float:
    return float(np.mean([score(truth, separate(maps)).aji for truth, maps in map(scored, seeds)]))


def test_the_rule_separates_better_than_any_one_rise() -> None:
    found = [joins_of(maps, truth, HALF, 0, HEIGHT) for truth, maps in map(scored, range(8))]
    joins = Joins(np.concatenate([j.descriptors for j in found]), np.concatenate([j.gains_um2 for j in found]))
    rule = regress(joins, HEIGHT)
    test = range(100, 106)
    learned = mean_aji(test, lambda maps: instances_from_distance(maps[0], maps[2], HALF, rule))
    for height in (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5):
        pieces = mean_aji(test, lambda maps, h=height: fragments(maps[0], maps[2], HALF, h)[0])
        assert learned > pieces + 0.01, height


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_gains_are_what_the_best_partition_gains(seed: int) -> None:
    truth, maps = scored(seed, 96)
    pieces = np.ascontiguousarray(fragments(maps[0], maps[2], HALF, HEIGHT)[0])
    pieces = np.unique(pieces, return_inverse=True)[1].reshape(pieces.shape).astype(np.int32)
    tree = join_tree(pieces, maps[2], maps[0], 10**9)
    gains, _ = gains_of(tree, pieces, truth)
    count = len(tree.parents) - len(tree.parts)

    def worth(region: np.ndarray) -> float:
        values = [0.0]
        for label in np.unique(truth[region & (truth > 0)]):
            shared = int((region & (truth == label)).sum())
            values.append(shared**2 / ((region | (truth == label)).sum()))
        return max(values)

    def best(node: int) -> float:
        own = worth(region(node))
        return own if node < count else max(own, sum(best(int(part)) for part in tree.parts[node - count]))

    def region(node: int) -> np.ndarray:
        if node < count:
            return pieces == node + 1
        return region(int(tree.parts[node - count, 0])) | region(int(tree.parts[node - count, 1]))

    for join in range(0, len(gains), 7):
        node = count + join
        apart = sum(best(int(part)) for part in tree.parts[join])
        assert gains[join] == pytest.approx(worth(region(node)) - apart)


def test_joins_that_the_border_cuts_are_left_out() -> None:
    truth, maps = scored(1)
    pieces, heights = fragments(maps[0], maps[2], HALF, HEIGHT)
    pieces = np.unique(pieces, return_inverse=True)[1].reshape(pieces.shape).astype(np.int32)
    tree = join_tree(pieces, heights, maps[0], HALF.area_px(HALF.max_area_um2))
    _, whole = gains_of(tree, pieces, truth)
    assert 0 < whole.sum() < len(whole)
    edge = {int(k) - 1 for side in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]) for k in side if k}
    for one, other in tree.parts[whole]:
        assert one not in edge
        assert other not in edge


def test_an_empty_annotation_has_nothing_to_gain() -> None:
    _, maps = scored(2)
    joins = joins_of(maps, np.zeros(maps.shape[1:], np.int32), HALF, 0, HEIGHT)
    assert len(joins.gains_um2)
    assert not joins.gains_um2.any()
    full = joins_of(maps, np.ones(maps.shape[1:], np.int32), HALF, 0, HEIGHT)
    assert (full.gains_um2 > 0).all()  # one nucleus everywhere: every join covers more of it


def test_too_little_to_learn_from() -> None:
    rng = np.random.default_rng(0)
    few = Joins(rng.normal(size=(20, len(DESCRIPTORS))), rng.normal(size=20))
    with pytest.raises(DataError, match="too few"):
        regress(few, HEIGHT)
    one_sided = Joins(rng.normal(size=(90, len(DESCRIPTORS))), np.ones(90))
    with pytest.raises(DataError, match="90 belong together"):
        regress(one_sided, HEIGHT)


def test_a_regression_finds_the_rule_that_made_the_data() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, len(DESCRIPTORS))) * np.arange(1, 11)
    line = np.array([1.0, -2.0, 0, 0, 0, 0.5, -1.0, 0, 0.2, 0])
    gains = np.where(x @ line + 0.7 + rng.logistic(size=4000) > 0, 5.0, -5.0)
    rule = regress(Joins(x, gains), HEIGHT)
    # A small penalty on large weights keeps the size of the line a little below, not its direction.
    cosine = np.dot(rule.weights, line) / np.linalg.norm(rule.weights) / np.linalg.norm(line)
    assert cosine > 0.99
    assert rule.fragment_height == HEIGHT


@pytest.fixture(scope="module")
def annotated() -> list[LabelledImage]:
    """Drawn tissue: purple, mottled ellipses that touch, on pink."""
    images = []
    for seed in range(2):
        labels = ellipses((400, 400), 120, seed, radius=(12, 20))
        rng = np.random.default_rng(seed)
        mottle = ndimage.gaussian_filter(rng.normal(0, 1, labels.shape), 3)[..., None] * 90
        pixels = np.where((labels > 0)[..., None], (120, 70, 150), (230, 170, 200)) + mottle
        edge = ndimage.grey_dilation(labels, 3) != ndimage.grey_erosion(labels, 3)
        pixels[edge] -= 30
        pixels = ndimage.gaussian_filter(pixels, (0.7, 0.7, 0)).clip(0, 255).astype(np.uint8)
        images.append(LabelledImage(name=str(seed), image=pixels, labels=labels, attributes={}, mpp=0.25))
    return images


def test_a_shipped_model_learns_to_join(annotated: list[LabelledImage], tmp_path: Path) -> None:
    out, done = tmp_path / "joined.safetensors", []
    fitted = train_joining(annotated, "fast", out, JoiningFit(crops=12, seed=3), device="cpu", on_crop=done.append)
    assert done == list(range(1, 13))
    assert fitted.joins >= FEWEST
    assert 0.5 < fitted.decided <= 1
    written = load_segmenter(str(out), device="cpu")
    assert written.config.joining == fitted.joining
    assert written.identity != load_segmenter("fast", device="cpu").identity
    again = fit_joining(load_segmenter("fast", device="cpu"), annotated, JoiningFit(crops=12, seed=3))
    assert again == fitted


@pytest.mark.parametrize("make", [OracleSegmenter, partial(load_segmenter, "breast", device="cpu")])
def test_other_segmenters_are_refused(make: Callable[[], Segmenter], annotated: list[LabelledImage]) -> None:
    with pytest.raises(ConfigError, match="separates nuclei by distance"):
        fit_joining(make(), annotated, JoiningFit(crops=1))


def test_the_command(annotated: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsinuc.workflows.join.run.JoiningFit", partial(JoiningFit, crops=6))
    data, out = write_images(tmp_path / "set", annotated), tmp_path / "joined.safetensors"
    given = [str(data), "--mpp", "0.25", "--model", "fast", "-o", str(out), "--device", "cpu"]
    planned = CliRunner().invoke(command, [*given, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "2 images, 6 crops" in planned.output
    assert "11 parameters to learn" in planned.output
    assert "one crop took" in planned.output
    assert not out.exists()
    done = CliRunner().invoke(command, [*given, "--log", str(tmp_path / "training.log")])
    assert done.exit_code == 0, done.output
    assert "pairs of fragments" in done.output
    assert (tmp_path / "training.log").exists()
    assert load_segmenter(str(out), device="cpu").config.joining is not None
