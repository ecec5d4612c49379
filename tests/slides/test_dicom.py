"""Files of one DICOM series are one slide, whichever of them are named."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from helpers.files.dicom import write_series
from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.dicom import read_instance
from wsinuc.workflows.cohort.slide_list import list_slides
from wsinuc_cli.main import main


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 255, (20, 25, 3), np.uint8).repeat(10, 0).repeat(10, 1)


def test_openslide_reads_what_the_helper_writes(tmp_path):
    finest, *_, label, _ = write_series(tmp_path, picture(), mpp=0.5)
    for path in (finest, label):
        with open_slide(path) as slide:
            assert slide.level_shapes == ((200, 250), (100, 125), (50, 63))
            assert slide.mpp == pytest.approx(0.5)
            seen = slide.read(Box(0, 0, 200, 250), 0).astype(int)
        assert np.abs(seen - picture()).mean() < 6


def test_headers_say_which_file_is_what(tmp_path):
    paths = write_series(tmp_path, picture(), mpp=0.5)
    found = [read_instance(path) for path in paths]
    assert len({each.series for each in found if each}) == 1
    assert [(each.volume, each.width) for each in found if each] == [
        (True, 250),
        (True, 125),
        (True, 63),
        (False, 60),
        (False, 60),
    ]
    for content in (b"", b"x" * 1000, paths[0].read_bytes()[:300], b"\0" * 128 + b"DICM" + b"\xff" * 500):
        (tmp_path / "damaged.dcm").write_bytes(content)
        assert read_instance(tmp_path / "damaged.dcm") is None
    assert read_instance(tmp_path / "missing.dcm") is None


@pytest.mark.parametrize("order", [1, -1])
def test_the_files_of_a_series_are_one_job_named_after_their_folder(tmp_path, order):
    paths = write_series(tmp_path / "case 7", picture(), mpp=0.5)
    (job,) = list_slides(sorted(paths)[::order])
    assert (job.slide, job.stem, job.files) == (paths[0], "case 7", 5)
    assert list_slides([tmp_path / "case 7"]) == (job,)
    # Levels of a pyramid without its finest: the finest that was named; OpenSlide finds the others all the same.
    assert list_slides(paths[1:3])[0].slide == paths[1]


def test_one_file_alone_keeps_its_own_name(tmp_path):
    paths = write_series(tmp_path, picture(), mpp=0.5)
    (job,) = list_slides(paths[1:2])
    assert (job.slide, job.stem, job.files) == (paths[1], paths[1].stem, 1)


def test_several_series_in_a_folder_are_several_slides(tmp_path):
    one = write_series(tmp_path, picture(0), mpp=0.5, seed="one")
    two = write_series(tmp_path, picture(1), mpp=0.5, seed="two")
    other = tmp_path / "plain.svs"
    mixed = [two[1], other, one[3], two[0], one[0], one[1]]
    jobs = list_slides(mixed)
    assert [job.slide for job in jobs] == [two[0], other, one[0]]
    assert [job.stem for job in jobs] == [two[0].stem, "plain", one[0].stem]
    assert [job.files for job in jobs] == [2, 1, 3]


def test_a_damaged_file_is_a_slide_of_its_own_that_will_fail(tmp_path):
    paths = write_series(tmp_path / "a", picture(), mpp=0.5)
    (tmp_path / "a" / "damaged.dcm").write_bytes(b"x" * 500)
    jobs = list_slides([tmp_path / "a"])
    assert [job.slide.name for job in jobs] == [paths[0].name, "damaged.dcm"]
    assert jobs[0].stem == paths[0].stem


def test_rows_of_a_table_are_grouped_and_must_agree(tmp_path):
    paths = write_series(tmp_path / "a", picture(), mpp=0.5)
    table = tmp_path / "slides.csv"

    def write(values: list[str]) -> Path:
        with table.open("w", newline="") as file:
            rows = [[str(path.relative_to(tmp_path)), value] for path, value in zip(paths, values, strict=False)]
            csv.writer(file).writerows([["slide", "mpp"], *rows])
        return table

    (job,) = list_slides([write(["0.5"] * 5)])
    assert (job.slide, job.mpp, job.files) == (paths[0], 0.5, 5)
    with pytest.raises(ConfigError, match="files of one DICOM series, which is one slide, and have different settings"):
        list_slides([write(["0.5", "0.25"])])


def test_segment_says_that_files_are_one_slide(tmp_path):
    paths = write_series(tmp_path / "case", picture(), mpp=0.5)
    arguments = ["segment", *map(str, paths), "-o", str(tmp_path / "out"), "--dry-run", "--tissue", "none"]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    assert "5 files of one DICOM series are one slide" in told.output
    assert "case.wsinuc" in told.output
    assert told.output.count("case.wsinuc") >= 1
    assert "_label" not in told.output.split("Note")[0]
