"""``describe_slide`` tells what is there, also of slides that a run would refuse."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from helpers.files.slides import SHARED_SLIDES, needs_shared, pyramid, write_pyramid
from wsinuc.errors import SlideError
from wsinuc.slides.isolation import processes
from wsinuc.workflows.doctor.info import describe_slide
from wsinuc_cli.main import main


def test_a_pyramid(tmp_path):
    found = describe_slide(write_pyramid(tmp_path / "p.tif", pyramid()))
    assert (found.reader, found.vendor, found.mpp_problem) == ("openslide", "generic-tiff", None)
    assert [level.downsample for level in found.levels] == [(1.0, 1.0), (2.0, 2.0), (4.0, 4.0)]
    assert [level.mpp for level in found.levels] == pytest.approx([0.25, 0.5, 1.0])
    assert found.mpp_source == "openslide.mpp-x, openslide.mpp-y"
    assert "3 levels, 0.25 um per pixel" in found.readers["tiffslide"]
    assert found.tissue_share == 1.0


def test_an_image_without_resolution_is_described_and_the_problem_named(tmp_path):
    Image.fromarray(np.full((60, 80, 3), 240, np.uint8)).save(tmp_path / "a.png")
    found = describe_slide(tmp_path / "a.png")
    assert found.mpp is None
    assert "--mpp" in found.mpp_problem
    assert found.tissue_share is None
    assert "Unsupported" in found.readers["openslide"]
    given = describe_slide(tmp_path / "a.png", mpp=0.5)
    assert (given.mpp, given.mpp_source, given.tissue_share, given.tissue_mm2) == (0.5, "--mpp", 0.0, 0.0)


def test_one_reader_process_gives_all_opinions(tmp_path, monkeypatch):
    started = []
    start = processes._start
    monkeypatch.setattr(processes, "_start", lambda *args: started.append(start(*args)) or started[-1])
    monkeypatch.setattr(processes, "_idle", [])
    Image.fromarray(np.full((60, 80, 3), 240, np.uint8)).save(tmp_path / "a.png")
    refusals = describe_slide(tmp_path / "a.png").readers
    assert ["px" in opinion for opinion in refusals.values()] == [False, False, False, True]
    assert len(started) == 1


def test_no_slide(tmp_path):
    with pytest.raises(SlideError):
        describe_slide(tmp_path / "none.svs")


@needs_shared
def test_the_real_slide():
    found = describe_slide(SHARED_SLIDES / "CMU-1-Small-Region.svs")
    assert (found.reader, found.vendor, found.mpp, found.objective_power) == ("openslide", "aperio", 0.499, 20)
    assert set(found.associated) == {"label", "macro", "thumbnail"}
    assert found.tissue_mm2 == pytest.approx(2967 * 2220 * 0.499**2 / 1e6 * found.tissue_share)


def test_a_result_at_a_url_is_named_as_such():
    done = CliRunner().invoke(main, ["info", "s3://bucket/results/a.wsinuc"])
    assert done.exit_code == 1
    assert "is the URL of a result" in done.output
