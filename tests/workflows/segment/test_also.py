"""``--also``: formats written by the run that makes the result, and what stands in their way."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsinuc
from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import config
from wsinuc.errors import ConfigError, OutputError
from wsinuc.pipeline.executor import ThreadExecutor
from wsinuc.workflows.cohort import run as cohort
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.segment.events import Event, StageStarted
from wsinuc.workflows.segment.run import segment_slide


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("small") / "plane.tiff", (150, 100), levels=1)


def segment(slide: Path, out: Path, *also: str, on_event=None, **changes: object):
    used = config(also=also, **changes)
    return segment_slide(slide, out, used, segmenter=OracleSegmenter(), on_event=on_event)


def test_formats_are_written_when_the_result_is_complete(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "plane.wsinuc"
    seen: dict[str, bool] = {}

    def note(event: Event) -> None:
        if isinstance(event, StageStarted):
            seen[event.name] = (out / "summary.json").exists()

    segment(small, out, "csv", "geoparquet", on_event=note)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "plane.nuclei.csv",
        "plane.nuclei.parquet",
        "plane.wsinuc",
    ]
    assert list(seen)[-1] == "formats"
    assert [name for name, is_complete in seen.items() if is_complete] == ["formats"]
    assert wsinuc.verify(out).state == "whole"
    assert wsinuc.read(out).summary["config"]["also"] == ["csv", "geoparquet"]


def test_what_stands_in_the_way_shows_before_the_work(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "plane.wsinuc"
    (tmp_path / "plane.nuclei.geojson.zip").touch()
    with pytest.raises(OutputError, match=r"plane\.nuclei\.geojson\.zip is there already: add --overwrite"):
        segment(small, out, "geojson")
    with pytest.raises(ConfigError, match="no format 'xls'"):
        segment(small, out, "csv", "xls")
    with pytest.raises(ConfigError, match="is a URL: leave out --also"):
        segment(small, "memory://bucket/plane.wsinuc", "csv")
    with pytest.raises(OutputError, match="its name has 256 bytes, file systems allow 255"):
        segment(small, tmp_path / f"{'a' * 242}.wsinuc", "csv.gz")
    assert not out.exists()
    segment(small, out, "geojson", overwrite=True)
    assert (tmp_path / "plane.nuclei.geojson").stat().st_size > 1000


def test_a_cohort_writes_what_is_missing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort.segmenters, "load_segmenter", lambda model, device: OracleSegmenter())
    job = SlideJob(slide=small, name="plane")
    for also in (("csv",), ("csv", "csv.gz")):
        summary = cohort.segment_cohort([job], tmp_path, config(also=also), executor=ThreadExecutor(1))
        assert not summary.unfinished
        table = tmp_path / "plane.nuclei.csv"
        if also == ("csv",):
            before = table.stat().st_mtime_ns
    assert table.stat().st_mtime_ns == before
    assert (tmp_path / "plane.nuclei.csv.gz").exists()
