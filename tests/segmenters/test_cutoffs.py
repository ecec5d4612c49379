"""Another threshold or least area than a model's own: every kind of segmenter honours it, and nothing else changes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError
from wsinuc.labels import relabel
from wsinuc.models.checkpoints.file_header import require_header
from wsinuc.models.checkpoints.header import from_header
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import load_segmenter, model_path, shipped_models
from wsinuc.segmenters.base import Needs, Segmenter
from wsinuc.segmenters.cutoffs import Adjustable, Cutoffs, changed_cutoffs, with_cutoffs
from wsinuc.segmenters.ddpm import DdpmConfig, DdpmSegmenter
from wsinuc.segmenters.measured import MeasuredSegmenter
from wsinuc.segmenters.network import NetworkConfig, NetworkSegmenter
from wsinuc.segmenters.outline import outline_model
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.separation.channels import FOREGROUND
from wsinuc.workflows.segment.model_file import source_of

NUCLEUS = (NucleusClass("Nucleus", (0, 200, 80)),)
LOWER = 0.3
HIGHER = 0.8


def without_weights(kind: type[TiledSegmenter], config: Any) -> TiledSegmenter:
    """A segmenter that can separate and no more: its network is never built."""
    segmenter = cast(TiledSegmenter, object.__new__(kind))
    segmenter.config = config
    return segmenter


def ddpm() -> Segmenter:
    header = require_header(model_path("diffusion"), "segmenter").config
    config = from_header(DdpmConfig, {name: value for name, value in header.items() if name != "method"})
    return cast(Segmenter, without_weights(DdpmSegmenter, config))


def hovernet() -> Segmenter:
    config = NetworkConfig.describe("hovernet", {"classes": 2}, mpp=0.25, separation="hv", classes=NUCLEUS)
    return cast(Segmenter, without_weights(NetworkSegmenter, config))


def measured() -> Segmenter:
    needs = Needs(measure=("shape",), stains="qupath")
    return MeasuredSegmenter(load_segmenter("fast", device="cpu"), NUCLEUS, cast(Any, None), needs)


KINDS: dict[str, Callable[[], Segmenter]] = {
    "network": lambda: load_segmenter("student", device="cpu"),
    "joint": lambda: load_segmenter("fast", device="cpu"),
    "typed": lambda: load_segmenter("breast", device="cpu"),
    "ddpm": ddpm,
    "hovernet": hovernet,
    "measured": measured,
}


@pytest.fixture(scope="module")
def kinds() -> dict[str, Segmenter]:
    return {name: make() for name, make in KINDS.items()}


def hills(segmenter: Segmenter) -> NDArray[np.uint8]:
    """Scores of nuclei of several heights and widths that lie apart: no threshold makes two of one."""
    foreground = np.zeros((160, 160))
    rows, columns = np.mgrid[:160, :160]
    for number, (y, x) in enumerate((y, x) for y in (30, 80, 130) for x in (30, 80, 130)):
        width = 10.0 + 0.2 * number
        height = 1.0 - 0.03 * number
        foreground += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
    levels = np.rint(255 * foreground.clip(0, 1)).astype(np.uint8)
    scores = np.zeros((segmenter.channels, 160, 160), np.uint8)
    scores[:] = levels
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_less_from_a_higher_threshold_on(kinds: dict[str, Segmenter], kind: str) -> None:
    segmenter = kinds[kind]
    scores = hills(segmenter)
    if isinstance(segmenter, TiledSegmenter) and segmenter.config.separation == "hv":
        # Maps of a slope that falls nowhere: nothing is cut.
        scores[-2:] = 128
    # However small: what is dropped for its area is another test's.
    segmenter = with_cutoffs(segmenter, min_area_um2=0.0)
    labels = {each: with_cutoffs(segmenter, threshold=each).separate(scores) for each in (LOWER, HIGHER)}
    own = segmenter.separate(scores)
    assert np.all(labels[LOWER][labels[HIGHER] > 0] > 0)
    assert np.all(labels[LOWER][own > 0] > 0)
    assert np.all(own[labels[HIGHER] > 0] > 0)
    assert (labels[LOWER] > 0).sum() > (own > 0).sum() > (labels[HIGHER] > 0).sum() > 0
    for threshold, found in labels.items():
        assert scores[FOREGROUND][found > 0].min() == np.ceil(255 * threshold)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_drops_what_is_smaller_than_the_least_area(kinds: dict[str, Segmenter], kind: str) -> None:
    segmenter = kinds[kind]
    scores = hills(segmenter)
    own = with_cutoffs(segmenter, min_area_um2=0.0).separate(scores)
    areas = ndimage.sum_labels(own > 0, own, np.arange(1, own.max() + 1)) * segmenter.mpp**2
    middle = float(np.median(areas))
    found = with_cutoffs(segmenter, min_area_um2=middle).separate(scores)
    assert 0 < found.max() < own.max()
    assert np.array_equal(found, relabel(own, round(middle / segmenter.mpp**2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_knows_its_own_cutoffs_whatever_is_set(kinds: dict[str, Segmenter], kind: str) -> None:
    segmenter = kinds[kind]
    assert isinstance(segmenter, Adjustable)
    own = segmenter.cutoffs
    assert own is not None
    assert own == segmenter.own_cutoffs
    changed = with_cutoffs(with_cutoffs(segmenter, threshold=HIGHER), min_area_um2=9.0)
    assert changed.cutoffs == Cutoffs(threshold=HIGHER, min_area_um2=9.0)
    assert changed.own_cutoffs == own
    assert changed_cutoffs(changed) == {"threshold": HIGHER, "min_area_um2": 9.0}
    assert segmenter.cutoffs == own, "a copy is changed, and not the model"
    back = with_cutoffs(changed, threshold=own.threshold, min_area_um2=own.min_area_um2)
    assert changed_cutoffs(back) == {}
    same = with_cutoffs(segmenter, threshold=own.threshold)
    assert same is segmenter
    assert with_cutoffs(segmenter) is segmenter


@pytest.mark.parametrize("kind", ["network", "joint", "typed"])
def test_cutoffs_decide_the_identity_and_travel(kinds: dict[str, Segmenter], kind: str) -> None:
    segmenter = kinds[kind]
    changed = with_cutoffs(segmenter, threshold=HIGHER)
    assert changed.identity != segmenter.identity
    assert with_cutoffs(changed, threshold=0.6).identity == segmenter.identity
    assert with_cutoffs(segmenter, min_area_um2=9).identity == with_cutoffs(segmenter, min_area_um2=9.0).identity
    fitted = cast(Any, changed).with_statistics({})
    assert fitted.cutoffs == changed.cutoffs
    assert fitted.own_cutoffs == changed.own_cutoffs


def test_a_worker_that_loads_the_file_gets_the_cutoffs(kinds: dict[str, Segmenter]) -> None:
    config = SegmentConfig(model="student", device="cpu")
    changed = with_cutoffs(kinds["network"], threshold=HIGHER, min_area_um2=9.0)
    source = pickle.loads(pickle.dumps(source_of(changed, config)))
    assert source() is not changed
    assert source().identity == changed.identity
    assert changed_cutoffs(source()) == changed_cutoffs(changed)
    assert source != source_of(kinds["network"], config), "a process keeps both apart"


@pytest.mark.parametrize("name", shipped_models())
def test_the_outline_has_the_cutoffs_of_the_model(name: str) -> None:
    outline = with_cutoffs(outline_model(name), threshold=HIGHER)
    assert isinstance(outline, Adjustable)
    assert outline.cutoffs == Cutoffs(threshold=HIGHER, min_area_um2=outline.own_cutoffs.min_area_um2)
    assert changed_cutoffs(outline) == {"threshold": HIGHER}


def test_a_loaded_model_takes_them_at_once() -> None:
    segmenter = load_segmenter("student", device="cpu", threshold=HIGHER, min_area_um2=9.0)
    assert changed_cutoffs(segmenter) == {"threshold": HIGHER, "min_area_um2": 9.0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"threshold": 0.0}, "threshold must be a probability above 0 and at most 1, got 0"),
        ({"threshold": 1.5}, r"got 1\.5: .*a lower one finds more"),
        ({"threshold": float("nan")}, "got nan"),
        ({"threshold": "0.5"}, "threshold must be a number, got '0.5'"),
        ({"min_area_um2": -1.0}, "between 0 and 100000 um2, got -1"),
        ({"min_area_um2": float("inf")}, "got inf"),
    ],
)
def test_numbers_out_of_their_range_are_refused_before_weights_are_loaded(given: dict[str, Any], says: str) -> None:
    for ask in (SegmentConfig, lambda **each: load_segmenter("no such model", **each)):
        with pytest.raises(ConfigError, match=says):
            ask(**given)


def test_a_segmenter_of_another_make_has_cutoffs_of_its_own() -> None:
    class Foreign:
        pass

    with pytest.raises(ConfigError, match=r"Foreign is no segmenter of wsinuc's.*its threshold: set that"):
        with_cutoffs(Foreign(), threshold=HIGHER)
    assert changed_cutoffs(Foreign()) == {}
