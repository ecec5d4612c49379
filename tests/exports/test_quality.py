"""Findings on quality: blur, another stain, small and doubtful nuclei are marked, and nothing else is."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from helpers.nuclei import with_areas
from helpers.oracle import OracleSegmenter
from wsinuc.exports.pictures.slide_pictures import FieldPictures, SlidePictures
from wsinuc.exports.report.distributions import Distributions
from wsinuc.exports.report.quality import (
    Colours,
    focus_finding,
    probability_finding,
    small_finding,
    stain_finding,
)
from wsinuc.grid import Box
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Coloured
from wsinuc.segmenters.shipped import DENOISERS, MODELS, WEIGHTS, shipped_name
from wsinuc.slides import open_slide

SLIDE = Path(__file__).parents[2] / "examples" / "data" / "CMU-1-Small-Region.svs"
TRAINING = Colours((0.24, 0.34, 0.23), (0.13, 0.16, 0.1))


@functools.cache
def field(blur_um: float, mpp: float = 0.25) -> FieldPictures:
    """Tissue of dark discs of 7 um in 192 um, behind a blur."""
    rng = np.random.default_rng(0)
    density = np.full((768, 768), 0.2)
    for cy, cx in rng.uniform(0, 192, (260, 2)):
        rows = slice(max(0, int((cy - 4) / mpp)), min(768, int((cy + 4) / mpp) + 1))
        columns = slice(max(0, int((cx - 4) / mpp)), min(768, int((cx + 4) / mpp) + 1))
        y, x = np.mgrid[rows, columns] * mpp
        density[rows, columns][np.hypot(y - cy, x - cx) < 3.5] = 0.7
    density = ndimage.gaussian_filter(density, max(blur_um, 0.25) / mpp)
    grey = np.rint(255 * 10**-density).astype(np.uint8)
    image = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
    return FieldPictures(Box(0, 0, 384, 384), mpp, image, image, ())


def table(areas: list[float], probabilities: list[float]) -> Distributions:
    distributions = Distributions()
    nuclei = with_areas(np.array(areas), np.zeros(len(areas)))
    distributions.add(dataclasses.replace(nuclei, probabilities=np.array(probabilities, np.float32)))
    return distributions


@pytest.mark.parametrize(("blur_um", "is_doubtful"), [(0.0, False), (5.0, True), (8.0, True)])
def test_a_field_out_of_focus_is_marked(blur_um: float, is_doubtful: bool) -> None:
    finding = focus_finding([("typical", field(0.0)), ("densest", field(blur_um))])
    assert finding.is_doubtful == is_doubtful
    assert "(densest)" in finding.text


@pytest.mark.parametrize(("blur_um", "low", "high"), [(0, 0.7, 1.0), (1, 0.33, 0.44), (2, 0.16, 0.18)])
def test_the_measure_of_real_tissue_behind_a_blur(blur_um: int, low: float, high: float) -> None:
    """The figures of docs/reference/report.md."""
    with open_slide(SLIDE) as slide:
        pictures = SlidePictures(slide.at(0.5))
        for y, x in ((800, 1100), (2300, 1700), (1800, 700)):
            plain = pictures.field(Box(y, x, y + 384, x + 384), lambda box: []).plain
            pixels = np.asarray(plain).astype(float)
            if blur_um:
                pixels = ndimage.gaussian_filter(pixels, (blur_um / 0.25, blur_um / 0.25, 0))
            image = Image.fromarray(pixels.round().astype(np.uint8))
            finding = focus_finding([("typical", FieldPictures(Box(0, 0, 384, 384), 0.25, image, image, ()))])
            (measure,) = re.findall(r"is (\d\.\d\d) \(typical\)", finding.text)
            assert low <= float(measure) <= high
            assert finding.is_doubtful == (blur_um == 2)


def test_glass_says_nothing_of_focus() -> None:
    white = Image.new("RGB", (768, 768), "white")
    finding = focus_finding([("typical", FieldPictures(Box(0, 0, 384, 384), 0.25, white, white, ()))])
    assert not finding.is_doubtful
    assert "too little structure" in finding.text


def test_a_stain_is_compared_in_units_of_the_trainings_spread() -> None:
    away = Colours((0.24, 0.34 + 11 * 0.16, 0.23), (0.1, 0.1, 0.1))
    near = Colours((0.24, 0.34 + 2 * 0.16, 0.23), (0.1, 0.1, 0.1))
    assert stain_finding(away, TRAINING).is_doubtful
    assert "11.0 times the spread" in stain_finding(away, TRAINING).text
    assert not stain_finding(near, TRAINING).is_doubtful
    # Densities are decadic on the page, and 0.34 natural ones are 0.15 of these.
    assert "0.10, 0.15, 0.10 in the training images" in stain_finding(near, TRAINING).text
    assert not stain_finding(None, TRAINING).is_doubtful
    assert "does not record" in stain_finding(near, None).text


def test_small_and_doubtful_nuclei_are_counted() -> None:
    few = table([10.0, 20.0, 30.0, 40.0, 50.0], [0.9, 0.9, 0.9, 0.9, 0.4])
    assert small_finding(few).text.startswith("1 (20.0%) are smaller than 15 µm², a circle of 4.4 µm.")
    assert probability_finding(few).text.startswith("1 (20.0%) have a probability below 0.5.")
    assert not small_finding(few).is_doubtful
    many = table([10.0, 14.9, 15.0, 40.0], [0.1, 0.49, 0.5, 0.9])
    assert small_finding(many).text.startswith("2 (50.0%)")
    assert small_finding(many).is_doubtful
    assert probability_finding(many).is_doubtful
    assert small_finding(Distributions()).text == "There are no nuclei."
    none = table([20.0, 30.0], [0.9, 0.9])
    assert small_finding(none).text.startswith("None is smaller")
    assert probability_finding(none).text == "None has a probability below 0.5."


def test_models_say_which_colours_they_were_trained_on() -> None:
    model = load_segmenter("fast", device="cpu")
    assert isinstance(model, Coloured)
    assert model.training_colours is not None
    assert not isinstance(OracleSegmenter(), Coloured)


def test_shipped_models_are_known_by_their_hash() -> None:
    lines = (WEIGHTS / "SHA256SUMS").read_text().splitlines()
    hashes = {file: digest for digest, file in map(str.split, lines)}
    for model in (*MODELS, *DENOISERS):
        if model.path.is_file() and model.name != "default":
            assert shipped_name(hashes[model.file]) == model.name
    assert shipped_name("0" * 64) is None
