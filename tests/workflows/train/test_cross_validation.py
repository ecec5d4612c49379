"""Windows judged by models that have not seen them: who learns from what, which settings follow, what is written."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from helpers.training.knowing_teacher import GROUND, NUCLEUS, KnowingTeacher, discs
from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError
from wsinuc.metrics.calibration import Verdicts, certainty
from wsinuc.models.features.ensemble import EnsembleConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.train.cross_validation import CrossValidation, cross_validate
from wsinuc.workflows.train.ddpm_config import DdpmTrainConfig, chosen_folds
from wsinuc.workflows.train.ensemble import EnsembleFitConfig, fit_ensemble
from wsinuc.workflows.train.finetune import FinetuneConfig
from wsinuc.workflows.train.pixel_table import PixelTable
from wsinuc.workflows.train.window_settings import UNCORRECTED, corrected, fit_probabilities, fit_watershed
from wsinuc.workflows.train.windows_report import class_lines, window_lines, write_windows_page


def window(seed: int, name: str = "", share: float = 1.0) -> LabelledImage:
    """Discs that the teacher calls nucleus with this probability."""
    image = discs(seed)
    labels = cc3d.connected_components(image[..., 0] == NUCLEUS, connectivity=4).astype(np.int32)
    image[..., 0] = np.where(labels > 0, GROUND - share * (GROUND - NUCLEUS), GROUND)
    return LabelledImage(name=name or f"w{seed}", image=image, labels=labels, attributes={}, mpp=0.5)


class Hesitant(KnowingTeacher):
    """Knows where nuclei are, and gives them a third of the probability."""

    def _scores(self, red: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scores = super()._scores(red)
        scores[[0, 2]] //= 3
        return scores


WINDOWS = [window(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def measured() -> CrossValidation:
    return cross_validate(WINDOWS, lambda chosen: Hesitant(), folds=4, seed=0)


def test_every_window_is_predicted_by_a_model_that_has_not_seen_it() -> None:
    learned: list[NDArray[np.bool_]] = []
    models: list[KnowingTeacher] = []

    def learn(chosen: NDArray[np.bool_]) -> KnowingTeacher:
        learned.append(chosen)
        models.append(KnowingTeacher())
        return models[-1]

    done = cross_validate(WINDOWS, learn, folds=4, seed=0)
    assert done.folds == 3
    assert [int(chosen.sum()) for chosen in learned] == [2, 2, 2]
    assert (~np.stack(learned)).sum(axis=0).tolist() == [1, 1, 1]
    # Each model has been asked about one window and no other, and about no pixel twice.
    assert [sum(model.seen) for model in models] == [1, 1, 1]
    assert [each.image.name for each in done.windows] == ["w0", "w1", "w2"]


def test_the_threshold_is_fitted_to_held_out_windows(measured: CrossValidation) -> None:
    # Nuclei have the level 85 of 255: the usual threshold of one half would find none.
    assert measured.watershed.foreground_threshold == 0.3
    assert measured.watershed.marker_height == 0.1
    figures = measured.as_json()
    assert figures["dice"] == pytest.approx(1, abs=0.01)
    assert figures["aji"] == pytest.approx(1, abs=0.02)
    assert (figures["windows"], figures["folds"]) == (3, 3)
    # All nuclei are right, so nothing says how to correct their probability of one third.
    assert measured.certainty == UNCORRECTED
    assert measured.calibration_error == pytest.approx(2 / 3, abs=0.01)


def test_ignored_pixels_count_in_nothing(measured: CrossValidation) -> None:
    ignore = np.zeros(WINDOWS[0].labels.shape, np.bool_)
    ignore[:, 64:] = True
    wrong = np.where(ignore, 0, WINDOWS[0].labels)
    half = replace(WINDOWS[0], labels=wrong.astype(np.int32), ignore=ignore)
    done = cross_validate([half, *WINDOWS[1:]], lambda chosen: Hesitant(), folds=3, seed=0)
    scores = done.windows[0].scores.scores
    assert scores is not None
    assert scores.aji == pytest.approx(1, abs=0.03)
    assert scores.predicted_nuclei == scores.true_nuclei == 8


def test_probabilities_are_corrected_where_enough_nuclei_are_wrong() -> None:
    # Of 80 nuclei with 0.95 seven in eight are right, of 20 with 0.6 one half.
    probabilities = np.repeat([0.95, 0.95, 0.6, 0.6], [70, 10, 10, 10])
    right = np.repeat([True, False, True, False], [70, 10, 10, 10])
    verdicts = Verdicts(probabilities, np.zeros(100), right)
    line = fit_probabilities(verdicts)
    np.testing.assert_allclose(certainty([0.95, 0.6], line), [0.875, 0.5], atol=0.005)
    np.testing.assert_allclose(corrected(verdicts, line).probabilities.mean(), 0.8, atol=0.005)
    few = Verdicts(probabilities[10:95], np.zeros(85), np.arange(85) >= 9)
    turned = Verdicts(1 - probabilities, np.zeros(100), right)
    parted = Verdicts(np.where(right, 0.95, 0.9), np.zeros(100), right)
    for odd in (few, turned, parted):
        assert fit_probabilities(odd) == UNCORRECTED


def test_windows_without_nuclei_decide_by_what_is_found_in_them() -> None:
    start = WatershedSettings(mpp=0.5)

    def merit(number: int, settings: WatershedSettings) -> float:
        threshold = settings.foreground_threshold
        if number == 0:
            return 0.6 + 0.02 * (threshold == 0.4)
        return 1.0 if number < 4 else 0.5 + threshold / 2

    def fitted(*numbers: int) -> float:
        return fit_watershed(numbers, merit, start, nuclear=(0,)).foreground_threshold

    assert fitted(0) == 0.4
    assert fitted(0, 1, 2, 3) == 0.4, "windows on which all thresholds do alike change nothing"
    assert fitted(0, 4) == 0.65, "false nuclei count"
    assert fitted(1, 4) == start.foreground_threshold, "without any nucleus nothing is fitted"


def of(images: list[LabelledImage], **attributes: str) -> list[LabelledImage]:
    return [
        replace(image, attributes=dict(zip(attributes, values, strict=True)))
        for image, values in zip(images, zip(*attributes.values(), strict=True), strict=True)
    ]


def test_a_patient_is_in_one_fold_and_the_figures_say_so() -> None:
    learned: list[NDArray[np.bool_]] = []

    def learn(chosen: NDArray[np.bool_]) -> KnowingTeacher:
        learned.append(chosen)
        return KnowingTeacher()

    four = [*WINDOWS, window(3)]
    done = cross_validate(of(four, patient="abab", slide="1234"), learn, folds=4, seed=0)
    assert sorted(map(tuple, learned)) == [(False, True, False, True), (True, False, True, False)]
    assert done.as_json()["held_out"] == "patient"
    assert str(done.kin) == "2 patients, each whole"


def test_few_images_are_cross_validated_and_many_are_not() -> None:
    usual = DdpmTrainConfig()
    assert chosen_folds(usual, WINDOWS, 0.5) == 4
    assert chosen_folds(usual, WINDOWS, 0.01) == 0
    assert chosen_folds(usual, WINDOWS[:1], 0.5) == 0
    empty = replace(WINDOWS[1], labels=np.zeros_like(WINDOWS[1].labels))
    assert chosen_folds(usual, [WINDOWS[0], empty], 0.5) == 0
    assert chosen_folds(replace(usual, folds=0), WINDOWS, 0.5) == 0
    assert chosen_folds(replace(usual, folds=3), WINDOWS, 0.01) == 3
    assert chosen_folds(DdpmTrainConfig.paper(), WINDOWS, 0.5) == 0
    with pytest.raises(ConfigError, match="1 has nuclei: annotate a second one"):
        chosen_folds(replace(usual, folds=2), WINDOWS[:1], 0.5)
    with pytest.raises(ConfigError, match="2 folds or more, or 0 for none, got 1"):
        replace(usual, folds=1)
    with pytest.raises(ConfigError, match="is not cross-validated: folds 0"):
        replace(usual, folds=2, tuning=FinetuneConfig.of_steps(2, seed=0))


def test_a_fold_learns_as_from_a_table_of_its_own_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 4, generator=generator).half()
    table = PixelTable(features, (features[:, 0] > 0).long(), torch.zeros(60, 1), torch.arange(60) % 3)
    shape = EnsembleConfig(channels=((1, 4),), classes=2, maps=1, members=2, hidden=4, inner=4)
    config = EnsembleFitConfig(epochs=2, batch=8)
    rows = torch.nonzero(table.images != 1).flatten()
    own = PixelTable(features[rows], table.classes[rows], table.maps[rows])
    fold, alone = fit_ensemble(table, shape, config, rows=rows), fit_ensemble(own, shape, config)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, fold.state_dict()[name]), name


def test_the_table_of_windows(measured: CrossValidation) -> None:
    head, *rows, last = window_lines(measured)
    assert head.split() == ["window", "annotated", "predicted", "Dice", "AJI", "right", "probability"]
    assert [row.split()[:3] for row in rows] == [[f"w{n}", "16", "16"] for n in range(3)]
    assert last.split()[:3] == ["all", "48", "48"]
    assert last.split()[-2:] == ["1.00", "0.33"]


class Typing(KnowingTeacher):
    """Finds every nucleus, and takes all of them for the first of two classes."""

    def __init__(self) -> None:
        super().__init__()
        classes = (NucleusClass("Usual", (1, 2, 3)), NucleusClass("Rare", (4, 5, 6)))
        self.config = replace(self.config, classes=classes)

    def _scores(self, red: NDArray[np.uint8]) -> NDArray[np.uint8]:
        foreground, doubt, nucleus, *maps = super()._scores(red)
        return np.stack([foreground, doubt, nucleus, 0 * nucleus, *maps])


def typed(number: int, rare: int) -> LabelledImage:
    """A window whose first nuclei are of the rare class."""
    labels = WINDOWS[number].labels
    classes = np.where(np.arange(labels.max() + 1) <= rare, 2, 1).astype(np.int32)
    classes[0] = 0
    return replace(WINDOWS[number], classes=classes)


def test_a_class_that_is_not_found_is_counted_and_said(tmp_path: Path) -> None:
    done = cross_validate([typed(0, 3), typed(1, 1), typed(2, 0)], lambda chosen: Typing(), folds=3, seed=0)
    figures = done.as_json()["by_class"]
    assert figures == {
        "Usual": {"annotated": 44, "predicted": 48, "right": 44},
        "Rare": {"annotated": 4, "predicted": 0, "right": 0},
    }
    head, usual, rare, warning = class_lines(done)
    assert head.split() == ["class", "annotated", "predicted", "right", "recall", "precision"]
    assert usual.split() == ["Usual", "44", "48", "44", "1.00", "0.92"]
    assert rare.split() == ["Rare", "4", "0", "0", "0.00", "-"]
    assert warning == (
        "Warning: Rare was named in 0 of its 4 nuclei, fewer than 50%; annotate more of it, best in more than 2 windows"
    )
    page = write_windows_page(done, tmp_path / "mine.safetensors", "next").read_text(encoding="utf-8")
    assert "Class by class" in page
    assert warning in page
    alone = cross_validate([typed(0, 3), typed(1, 0)], lambda chosen: Typing(), folds=2, seed=0)
    assert "the model that is tested there has not seen it" in list(class_lines(alone))[-1]


def test_without_classes_nothing_is_said_of_them(measured: CrossValidation) -> None:
    assert list(class_lines(measured)) == []
    assert "by_class" not in measured.as_json()


def test_the_page_shows_every_window(measured: CrossValidation, tmp_path: Path) -> None:
    odd = replace(measured.windows[0].image, name="<script>alert(1)</script>")
    shown = replace(measured, windows=(replace(measured.windows[0], image=odd), *measured.windows[1:]))
    path = write_windows_page(shown, tmp_path / "mine.safetensors", "wsinuc segment SLIDE --model mine.safetensors")
    assert path == tmp_path / "mine.windows.html"
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "<b>48 nuclei</b> in <b>3 windows</b>" in text
    assert "a model that has learned from all the others" in text
    assert "wsinuc segment SLIDE --model mine.safetensors" in text
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)" width="320" height="320" alt="([^"]+)"', text)
    assert [name for _, name in pictures] == ["image", "annotation", "prediction, window not seen", "doubt"] * 3
    image, annotation, prediction, doubt = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int) for data, _ in pictures[:4]
    )
    # Green and magenta outlines, and no colour where nobody doubts.
    assert (annotation - image)[..., 1].max() > 100
    assert (prediction - image)[..., 0].max() > 100
    assert np.ptp(doubt, axis=2).max() < 10
    assert not list(tmp_path.glob("*.partial"))
