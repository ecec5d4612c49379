"""A run with another threshold or least area: what it finds, what it records, and when it is another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import wsinuc
from helpers.oracle import MPP, OracleSegmenter, plane, write_slide
from helpers.runs import config, run, tree
from wsinuc.errors import ConfigError, OutputError
from wsinuc.workflows.cohort.run import segment_cohort
from wsinuc.workflows.segment.plan import plan_segment

OWN = OracleSegmenter().cutoffs
"""0.5 and 5 um2."""
QUICK = {"report": False, "image": "none"}


@pytest.fixture(name="small", scope="module")
def _small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "plane.tiff", (200, 250), levels=1)


@pytest.fixture(name="usual", scope="module")
def _usual(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("usual") / "plane.wsinuc"
    run(small, out, **QUICK)
    return out


def test_the_models_own_cutoffs_change_no_byte_and_are_not_recorded(small: Path, usual: Path, tmp_path: Path) -> None:
    same = {"threshold": OWN.threshold, "min_area_um2": OWN.min_area_um2}
    summary = run(small, tmp_path / "plane.wsinuc", **QUICK, **same)
    assert tree(tmp_path / "plane.wsinuc") == tree(usual)
    assert {"threshold", "min_area_um2"}.isdisjoint(summary.settings)
    assert not [note for note in summary.notes if "--threshold" in note or "--min-area" in note]


def test_a_least_area_is_a_filter_and_the_result_says_so(small: Path, usual: Path, tmp_path: Path) -> None:
    summary = run(small, tmp_path / "plane.wsinuc", **QUICK, min_area_um2=40.0)
    areas = wsinuc.read(usual).nuclei()["area_um2"].to_numpy()
    found = wsinuc.read(tmp_path / "plane.wsinuc").nuclei()["area_um2"].to_numpy()
    assert 0 < len(found) < len(areas)
    assert np.array_equal(np.sort(found), np.sort(areas[areas >= 40]))
    assert summary.settings["min_area_um2"] == 40.0
    assert summary.config["min_area_um2"] == 40.0
    assert "the least area of a nucleus is 40 um2 (--min-area), the model's own 5 um2" in summary.notes


def test_a_threshold_is_recorded_and_makes_another_run(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "plane.wsinuc"
    # The oracle's nuclei have a probability of 235 / 255.
    summary = run(small, out, **QUICK, threshold=0.95)
    assert summary.nuclei == 0
    assert summary.settings["threshold"] == 0.95
    assert summary.notes[0].startswith("the threshold is 0.95 (--threshold), the model's own 0.5: probabilities")
    with pytest.raises(OutputError, match="--overwrite"):
        run(small, out, **QUICK)


def test_a_complete_result_is_compared_by_them(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda model, *, device: OracleSegmenter())
    table = tmp_path / "slides.csv"
    table.write_text(f"slide,min_area_um2,name\n{small},,usual\n{small},40,large\n")
    once = segment_cohort([table], tmp_path / "out", config(**QUICK))
    counts = {each.name: each.figures["nuclei"] for each in once.slides}
    assert 0 < counts["large"] < counts["usual"]
    again = segment_cohort([table], tmp_path / "out", config(**QUICK, threshold=OWN.threshold))
    assert [each.state for each in again.slides] == ["done", "done"], "the model's own is the same request"
    other = segment_cohort([table], tmp_path / "out", config(**QUICK, threshold=0.4))
    assert "threshold was None, now 0.4" in str(other.slides[0].error)


def test_an_image_takes_them(tmp_path: Path) -> None:
    pixels = plane((200, 300))
    whole = wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter())
    large = wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter(), min_area_um2=40.0)
    assert 0 < len(large) < len(whole)
    assert np.all(whole.labels[large.labels > 0] > 0)
    assert not len(wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter(), threshold=0.95))
    with pytest.raises(ConfigError, match="threshold must be a number"):
        wsinuc.segment_image(pixels, mpp=MPP, segmenter=OracleSegmenter(), threshold="half")  # type: ignore[arg-type]


def test_a_segmenter_of_another_make_refuses_them_before_work(small: Path, tmp_path: Path) -> None:
    class Foreign(OracleSegmenter):
        own_cutoffs = None  # type: ignore[assignment]
        cutoffs = None  # type: ignore[assignment]

    plan = plan_segment(small, tmp_path / "out", config(), Foreign())
    assert plan.cutoffs is None
    with pytest.raises(ConfigError, match="Foreign is no segmenter of wsinuc's"):
        plan_segment(small, tmp_path / "out", config(threshold=0.4), Foreign())
