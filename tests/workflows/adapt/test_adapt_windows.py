"""What an adaptation learns from and measures by: windows, tissue beside them, choices without what is held out."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from helpers.drawn import HALF, ellipses
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.patches import Prefetcher
from wsinuc.grid import Box
from wsinuc.metrics.calibration import certainty
from wsinuc.metrics.shape_odds import ShapeOdds
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.network import NetworkConfig
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.separation.targets import centre_distance
from wsinuc.workflows.adapt.batches import kept
from wsinuc.workflows.adapt.networks import Part
from wsinuc.workflows.adapt.settings import Refit, judged, refit
from wsinuc.workflows.adapt.sight import Sight, sights_of
from wsinuc.workflows.adapt.trials import Trial, choose, folds_of
from wsinuc.workflows.adapt.tune import Taught, lessons_of, squares_beside
from wsinuc.workflows.adapt.windows import Field, Window, field_of, rest_of

NUCLEUS = (NucleusClass("Nucleus", (0, 200, 80)),)
SHAPE = {"classes": 2, "maps": 1, "base": 4, "levels": 2}


class Echo(TiledSegmenter):
    """A stand-in for a model: the green of the pixels is what it says."""

    def __init__(self) -> None:
        config = NetworkConfig.describe("unet", SHAPE, mpp=0.5, separation="distance", classes=NUCLEUS)
        self.config = replace(config, tile=192, margin=32, watershed=HALF)

    @property
    def batch_size(self) -> int:
        return 1

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        inner = pixels[:, self.margin : -self.margin, self.margin : -self.margin, 1]
        return np.stack([inner, inner * 0, inner, inner], axis=1)


def drawn(seed: int, side: int = 200, mpp: float = 0.5) -> LabelledImage:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    labels = ellipses((side, side), side * side // 400, seed)
    return LabelledImage(name=f"i{seed}", image=image, labels=labels, attributes={"name": f"i{seed}"}, mpp=mpp)


def test_a_window_keeps_its_place_at_another_resolution() -> None:
    whole = drawn(1, side=240, mpp=0.25)
    field = field_of(whole, [Box(40, 80, 140, 200)], 0.5)
    (window,) = field.windows
    assert field.pixels.shape == (120, 120, 3)
    assert window.box == Box(20, 40, 70, 100)
    assert np.array_equal(window.image.labels, whole.labels[40:140, 80:200])
    assert window.image.mpp == 0.25
    assert window.nuclei == len(np.unique(window.image.labels)) - 1


def test_a_window_is_scored_in_its_own_pixels_with_the_tissue_around_as_context() -> None:
    whole = drawn(2)
    field = field_of(whole, [Box(30, 40, 130, 120), Box(150, 150, 200, 200)], 0.5)
    sight = Sight.of(field, Echo())
    for window in field.windows:
        assert np.array_equal(sight.scores_in(window)[0], whole.image[window.box.slices][..., 1])
    assert np.array_equal(sight.scores()[0], whole.image[..., 1])


def test_lessons_leave_held_out_windows_and_what_lies_under_windows_out() -> None:
    whole = drawn(3)
    boxes = [Box(0, 0, 80, 80), Box(120, 120, 200, 200)]
    field = field_of(whole, boxes, 0.5)
    taught = Taught.of(Sight.of(field, Echo()), 64)
    lessons = lessons_of([taught], Part(None), frozenset({"i3_0_0"}), 64)  # type: ignore[arg-type]
    assert [image.name for image in lessons.labelled] == ["i3_120_120"]
    places = squares_beside((200, 200), boxes, 64)
    assert len(lessons.taught) == len(places) > 3
    for planes, box in zip(lessons.taught, places, strict=True):
        assert not any(box.overlaps(other) for other in boxes)
        assert np.array_equal(np.moveaxis(planes[:3], 0, 2), whole.image[box.slices])
        assert np.array_equal(planes[3], whole.image[box.slices][..., 1])


def test_a_field_that_is_all_window_teaches_nothing_else() -> None:
    field = field_of(drawn(4, side=96), [Box(0, 0, 96, 96)], 0.5)
    taught = Taught.of(Sight.of(field, Echo()), 64)
    assert lessons_of([taught], Part(None), frozenset(), 64).taught == ()  # type: ignore[arg-type]


def test_a_network_learns_in_the_size_that_it_sees() -> None:
    class Enlarged(Sight):
        def sizes(self, part: Part) -> tuple[Fraction, ...]:
            return (Fraction(3, 2),)

    whole = drawn(5)
    field = field_of(whole, [Box(0, 0, 80, 80)], 0.5)
    sight = Enlarged(field, Echo())
    lessons = lessons_of([Taught.of(sight, 64)], Part(None), frozenset(), 64)  # type: ignore[arg-type]
    assert lessons.labelled[0].mpp == 0.75, "coarser pixels than the network's fill a crop with less tissue"
    assert len(lessons.taught) == len(squares_beside((300, 300), [Box(0, 0, 120, 120)], 64))


def test_rest_is_drawn_by_a_seed() -> None:
    sources = [np.full((100, 700, 3), 1, np.uint8), np.full((700, 700, 3), 2, np.uint8)]
    fields = rest_of(sources, seed=3)
    assert {field.pixels.shape[:2] for field in fields} <= {(100, 512), (512, 512)}
    assert sum(int(field.pixels[0, 0, 0] == 2) for field in fields) > len(fields) // 2
    again = rest_of(sources, seed=3)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(fields, again, strict=True))
    assert not any(field.windows for field in fields)


once = cache(ellipses)


def scored(seed: int, level: int, background: int = 0, only: int | None = None) -> tuple[Window, np.ndarray]:
    """Ellipses apart from each other, and a network that gives nuclei this level; of some only the first few."""
    labels = once((160, 160), 40, seed)
    image = LabelledImage(
        name=f"w{seed}", image=np.zeros((160, 160, 3), np.uint8), labels=labels, attributes={}, mpp=0.5
    )
    shown = labels if only is None else np.where(labels <= only, labels, 0)
    foreground = np.where(shown > 0, level, background)
    distance = centre_distance(shown) * 255
    return Window(image, Box(0, 0, 160, 160)), np.stack([foreground, 0 * foreground, foreground, distance]).astype(
        np.uint8
    )


def test_a_choice_is_measured_on_windows_that_had_no_part_in_it() -> None:
    trials = []
    for seed in range(4):
        window, good = scored(seed, 255)
        _, poor = scored(seed, 255, only=10)
        # The last window alone is better with the weights at the start.
        trials.append(Trial(window, {0.0: good if seed == 3 else poor, 0.5: poor if seed == 3 else good}, seed))
    choice = choose(trials, Echo())
    assert choice.share == 0.5
    assert choice.refit.names in ((), ("certainty",)), "what no other window gains from stays"
    assert (choice.after[:3] > choice.before[:3] + 0.3).all()
    assert choice.after[3] < choice.before[3] - 0.3, "the others have chosen for it"
    assert choice.after[0] == pytest.approx(1.0, abs=0.05)


def test_the_smaller_share_is_taken_of_equals() -> None:
    trials = []
    for seed in range(3):
        window, scores = scored(seed, 255)
        trials.append(Trial(window, dict.fromkeys((0.0, 0.5, 1.0), scores), seed))
    assert choose(trials, Echo()).share == 0.0


def shown(seed: int, annotated: int, found: int) -> tuple[Window, np.ndarray]:
    """A window with so many nuclei, of which, or beyond which, a network finds so many."""
    window, scores = scored(seed, 255, only=found)
    labels = window.image.labels
    return replace(window, image=replace(window.image, labels=np.where(labels <= annotated, labels, 0))), scores


def told(better: int, *empty: int) -> list[Trial]:
    """Four windows whose nuclei a share of 0.5 finds better by so many, and some without nuclei, in which it finds so
    many; too few nuclei in all to fit settings to."""
    trials = []
    for seed in range(4):
        window, usual = shown(seed, 15, 10)
        trials.append(Trial(window, {0.0: usual, 0.5: shown(seed, 15, 10 + better)[1]}, seed))
    for number, falsely in enumerate(empty, start=4):
        window, free = shown(9, 0, 0)
        trials.append(Trial(window, {0.0: free, 0.5: shown(9, 0, falsely)[1]}, number))
    return trials


@pytest.mark.parametrize("better", [-2, 2])
def test_a_window_without_nuclei_on_which_all_do_alike_changes_no_choice(better: int) -> None:
    alone = choose(told(better), Echo())
    window, falsely = shown(9, 0, 5)
    empty = [Trial(window, {0.0: falsely, 0.5: falsely}, 4 + number) for number in range(3)]
    beside = choose([*told(better), *empty], Echo())
    assert beside.share == alone.share == (0.5 if better > 0 else 0.0)
    assert np.array_equal(beside.before[:4], alone.before)
    assert np.array_equal(beside.after[:4], alone.after)
    assert np.array_equal(beside.after[4:], beside.before[4:])


def test_false_nuclei_in_a_window_without_any_count_against_a_choice_by_their_area() -> None:
    assert choose(told(0, 0), Echo()).share == choose(told(0, 1), Echo()).share == 0.0
    assert choose(told(2, 1), Echo()).share == 0.5, "one false nucleus does not outweigh eight that are found besides"
    assert choose(told(2, 40), Echo()).share == 0.0, "more false ones than other windows show do"
    window, one = shown(9, 0, 1)
    _, many = shown(9, 0, 40)
    assert 1 > judged(window, one, Echo()).merit(0.1) > 0.9 > judged(window, many, Echo()).merit(0.1) > 0.2


def test_windows_of_a_patient_choose_nothing_for_one_another() -> None:
    trials = [replace(trial, kin=number // 2) for number, trial in enumerate(told(2))]
    good = [{0.0: trial.scores[0.5], 0.5: trial.scores[0.0]} for trial in trials]
    # The patient of the first two windows is better with the weights at the start, the other with the tuned ones.
    opposed = [replace(trials[n], scores=good[n]) if n < 2 else trials[n] for n in range(4)]
    choice = choose(opposed, Echo())
    assert (choice.after < choice.before).tolist() == [True, True, False, False]
    assert np.array_equal(choice.after[2:], choice.before[2:]), "the other patient has chosen the weights at the start"


def test_windows_of_a_patient_are_held_out_together_and_nuclei_are_in_every_fold() -> None:
    windows = [scored(seed, 255)[0] for seed in range(4)]
    of_patients = [
        replace(window, image=replace(window.image, attributes={"patient": patient}))
        for window, patient in zip(windows, "abab", strict=True)
    ]
    assert folds_of(windows, 2) == [{"w0", "w2"}, {"w1", "w3"}]
    assert folds_of(of_patients, 4) == [{"w0", "w2"}, {"w1", "w3"}]
    mixed = [windows[0], shown(7, 0, 0)[0], windows[1], shown(8, 0, 0)[0]]
    assert all(fold & {"w0", "w1"} for fold in folds_of(mixed, 2))


def test_a_threshold_that_hides_nuclei_is_fitted_again() -> None:
    windows = [scored(seed, 110, background=20) for seed in range(4)]
    fitted = refit(windows, Echo())
    assert fitted.whole.threshold is not None
    assert 0.2 < fitted.whole.threshold <= 110 / 255
    assert all(each.threshold == fitted.whole.threshold for each in fitted.apart)
    assert Echo().config.watershed.foreground_threshold == 0.5
    assert fitted.whole.of(Echo()).config.watershed.foreground_threshold == fitted.whole.threshold


def test_a_threshold_that_does_as_well_as_others_stays() -> None:
    windows = []
    for seed in range(4):
        window, scores = scored(seed, 200)
        rim = binary_dilation(window.image.labels > 0, iterations=1) & (window.image.labels == 0)
        scores[0][rim] = 100
        windows.append((window, scores))
    assert refit(windows, Echo()).whole.threshold is None, "what is right at one half stays"


def test_fields_of_one_slide_are_fitted_once() -> None:
    fitted = []

    class Fitting(Echo):
        def calibrate(self, samples: np.ndarray) -> Fitting:
            fitted.append(samples.shape)
            return self

    samples = np.zeros((2, 64, 64, 3), np.uint8)
    fields = [field_of(drawn(seed), [Box(0, 0, 80, 80)], 0.5) for seed in range(5)]
    of_slides = [replace(field, samples=samples.copy() + (number > 2)) for number, field in enumerate(fields[:4])]
    sights = sights_of([*of_slides, fields[4]], Fitting())
    assert len(fitted) == 3, "one for each slide, one for the image that is no part of any"
    assert [sight.field for sight in sights] == [*of_slides, fields[4]]


def test_batches_are_the_same_kept_cut_ahead_or_cut_again() -> None:
    asked = []

    def cut(step: int) -> int:
        asked.append(step)
        return step**2

    twice = kept(cut, most=3)  # type: ignore[arg-type]
    for _ in range(2):
        with closing(Prefetcher(twice, threads=1)) as batch:
            assert [batch(step) for step in range(5)] == [0, 1, 4, 9, 16]
    assert sorted(asked)[:3] == [0, 1, 2], "the first three are cut once"
    assert all(asked.count(step) == 1 for step in range(3))
    assert asked.count(4) == 2


def test_what_is_ignored_counts_in_nothing() -> None:
    window, scores = scored(1, 255, only=20)
    hidden = (window.image.labels > 20) | (scores[0] == 0) & (window.image.labels > 0)
    ignoring = replace(window, image=replace(window.image, ignore=hidden))
    assert judged(window, scores, Echo()).aji < 0.8
    assert judged(ignoring, scores, Echo()).aji > 0.95
    assert ignoring.nuclei == 20
    assert window.nuclei == 40


def test_few_nuclei_change_no_setting() -> None:
    window, scores = scored(1, 110, background=20)
    assert refit([(window, scores)] * 2, Echo()).whole == Refit()


def test_certainty_becomes_how_often_nuclei_are_right() -> None:
    windows = []
    for seed in range(6):
        window, scores = scored(seed, 200)
        labels = window.image.labels
        # Four of five bright nuclei are annotated, and one of five dim ones.
        bright = labels % 2 == 0
        right = np.where(bright, labels // 2 % 5 > 0, labels // 2 % 5 == 0)
        # Both are beyond any threshold that is tried.
        scores[0] = np.where(labels > 0, np.where(bright, 250, 215), 0)
        windows.append((replace(window, image=replace(window.image, labels=np.where(right, labels, 0))), scores))
    line = refit(windows, Echo()).whole.certainty
    assert line is not None
    assert certainty([250 / 255, 215 / 255], line) == pytest.approx([0.8, 0.2], abs=0.06)


def test_the_certainty_is_fitted_beside_what_outlines_say() -> None:
    model = Echo()
    model.config = replace(model.config, shape_odds=ShapeOdds(log_area=1.0))
    windows = []
    for seed in range(6):
        window, scores = scored(seed, 230)
        labels = window.image.labels
        areas = np.bincount(labels.ravel())
        large = areas > np.median(areas[1:])
        # Pixels are all alike. Four of five large nuclei are annotated, and one of five small ones.
        right = np.where(large[labels], labels % 5 > 0, labels % 5 == 0)
        windows.append((replace(window, image=replace(window.image, labels=np.where(right, labels, 0))), scores))
    line = refit(windows, model).whole.certainty
    assert line is not None
    forms = {"area_um2": [30, 75], "solidity": [0.95] * 2, "circularity": [0.8] * 2}
    small, large = certainty(model.config.shape_odds.claims([230 / 255] * 2, forms), line)
    assert small < 0.35
    assert large > 0.65


def test_what_was_fitted_again_stands_in_the_header() -> None:
    from wsinuc.models.checkpoints.checkpoint import Checkpoint

    config = {"watershed": {"mpp": 0.5, "foreground_threshold": 0.5}, "certainty": [1.0, 0.0]}
    model = Checkpoint(kind="segmenter", config=config, provenance={}, tensors={})
    written = Refit(threshold=0.25, certainty=(2.0, -1.0)).written(model)
    assert written.config == {"watershed": {"mpp": 0.5, "foreground_threshold": 0.25}, "certainty": [2.0, -1.0]}
    assert config["watershed"] == {"mpp": 0.5, "foreground_threshold": 0.5}
    assert Refit(threshold=0.25, certainty=(2.0, -1.0)).names == ("threshold", "certainty")


def test_fields_hold_their_windows() -> None:
    assert Field(np.zeros((2, 2, 3), np.uint8)).windows == ()
