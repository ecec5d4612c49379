"""Several slides by one command: the same results as one by one, every slide accounted for, whatever goes wrong."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import wsinuc.segmenters
from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import config, tree
from wsinuc.errors import CheckpointError, ConfigError, OutputError, SlideError
from wsinuc.store import ResultStore
from wsinuc.store.files import read_json
from wsinuc.workflows.cohort import run as cohort
from wsinuc.workflows.cohort.events import CohortEvent, SlideDone, SlideFailed, SlideProgress
from wsinuc.workflows.cohort.run import segment_cohort
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.cohort.state import SlideState, StateFolder
from wsinuc.workflows.segment import run as segment
from wsinuc.workflows.segment.events import BlockDone, StageStarted
from wsinuc.workflows.segment.run import segment_slide

SETTINGS = config(block=192)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlideJob, ...]:
    folder = tmp_path_factory.mktemp("slides")
    return tuple(
        SlideJob(slide=write_slide(folder / f"{name}.tiff", (300, 200), levels=1, seed=seed))
        for seed, name in enumerate(NAMES)
    )


@pytest.fixture(scope="module")
def alone(slides: tuple[SlideJob, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Hashes of the results that the slides have one by one."""
    out = tmp_path_factory.mktemp("alone")
    for job in slides:
        segment_slide(job.slide, job.folder(out), SETTINGS, segmenter=OracleSegmenter())
    return {job.stem: tree(job.folder(out)) for job in slides}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were loaded; each is an oracle."""
    loaded: list[str] = []

    def load(model: str, *, device: str) -> OracleSegmenter:
        loaded.append(model)
        return OracleSegmenter(delay=0.002)

    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", load)
    return loaded


def states(out: Path) -> dict[str, str]:
    return {name: state.state for name, state in StateFolder(out).all().items()}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def broken(tmp_path: Path, name: str = "broken") -> SlideJob:
    (tmp_path / f"{name}.svs").write_text("no slide")
    return SlideJob(slide=tmp_path / f"{name}.svs")


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Path], Exception | None]) -> None:
    """Let ``segment_slide`` raise what ``fails`` returns for a slide."""
    real = segment.segment_slide

    def sometimes(path: Path, *args: object, **kwargs: object) -> object:
        if (error := fails(path)) is not None:
            raise error
        return real(path, *args, **kwargs)

    monkeypatch.setattr(segment, "segment_slide", sometimes)


def test_results_have_the_bytes_that_they_have_alone(slides, alone, loads, tmp_path: Path) -> None:
    events: list[CohortEvent] = []
    threads = set()

    def on_event(event: CohortEvent) -> None:
        threads.add(threading.current_thread())
        events.append(event)

    summary = segment_cohort(slides, tmp_path, SETTINGS, on_event=on_event)
    assert {job.stem: tree(job.folder(tmp_path)) for job in slides} == alone
    assert loads == ["default"]
    assert threads == {threading.current_thread()}
    assert [state.state for state in summary.slides] == ["done"] * 3
    assert (summary.failed, summary.unfinished, summary.before) == ((), (), ())
    assert sum(isinstance(event, SlideDone) for event in events) == 3
    state = StateFolder(tmp_path).read("a")
    made = read_json(tmp_path / "a.wsinuc" / "summary.json")
    assert (state.attempts, state.blocks, state.figures["nuclei"]) == (1, made["blocks"], made["nuclei"])
    assert state.host
    assert state.versions["wsinuc"]


def test_blocks_of_one_slide_at_a_time_while_another_is_written(slides, loads, tmp_path: Path) -> None:
    """The oracle itself fails when two blocks use it at once; here that blocks begin after those of
    the slide before."""
    order: list[tuple[str, str]] = []

    def on_event(event: CohortEvent) -> None:
        if isinstance(event, SlideProgress) and isinstance(event.event, BlockDone | StageStarted):
            order.append((event.job.stem, getattr(event.event, "name", "block")))

    segment_cohort(slides, tmp_path, SETTINGS, on_event=on_event)
    blocks = [stem for stem, what in order if what == "block"]
    assert blocks == sorted(blocks, key=list(dict.fromkeys(blocks)).index)


def test_an_executor_gets_the_next_slide_when_the_rest_does_not_fill_it() -> None:
    turn = cohort._Turn(threading.Event(), tail=4)
    first, second = SlideJob(slide=Path("a")), SlideJob(slide=Path("b"))
    turn.take(first)
    assert not turn.is_over(BlockDone(done=5, total=10, nuclei=0, unreadable=0))
    assert turn.is_over(BlockDone(done=6, total=10, nuclei=0, unreadable=0))
    turn.give(second)
    taker = threading.Thread(target=turn.take, args=(second,))
    taker.start()
    taker.join(0.1)
    assert taker.is_alive()
    turn.give(first)
    taker.join(10)
    assert not taker.is_alive()


def test_what_was_done_with_the_same_settings_is_left_as_it_is(slides, loads, tmp_path: Path, monkeypatch) -> None:
    segment_cohort(slides[:2], tmp_path, SETTINGS)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("?*.wsinuc/**/*")}
    monkeypatch.setattr(segment, "segment_slide", None)
    monkeypatch.setattr(
        "wsinuc.workflows.cohort.done_before.plan_segment", None
    )  # so quick that the slide is not even opened
    summary = segment_cohort(slides[:2], tmp_path, SETTINGS)
    assert summary.before == ("a", "b")
    assert not summary.failed
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.glob("?*.wsinuc/**/*")}
    assert rows(tmp_path)[0]["attempts"] == "1"


def test_other_settings_are_an_error_of_that_slide_until_overwrite(slides, loads, tmp_path: Path) -> None:
    segment_cohort(slides[:1], tmp_path, SETTINGS)
    other = config(block=256)
    summary = segment_cohort(slides[:2], tmp_path, other)
    assert [state.state for state in summary.slides] == ["failed", "done"]
    assert "block was 192, now 256" in summary.slides[0].error
    assert "--overwrite" in summary.slides[0].error
    again = segment_cohort(slides[:2], tmp_path, config(block=256, overwrite=True))
    assert [state.state for state in again.slides] == ["done", "done"]


def test_one_bad_slide_does_not_stop_the_others(slides, alone, loads, tmp_path: Path) -> None:
    jobs = (broken(tmp_path), slides[0], SlideJob(slide=tmp_path / "none.svs"), slides[1])
    seen: list[str] = []
    summary = segment_cohort(
        jobs, tmp_path, SETTINGS, on_event=lambda e: seen.append(e.job.stem) if isinstance(e, SlideFailed) else None
    )
    assert seen == ["broken", "none"]
    assert [state.state for state in summary.slides] == ["failed", "done", "failed", "done"]
    assert states(tmp_path) == {"a": "done", "b": "done", "broken": "failed", "none": "failed"}
    assert tree(tmp_path / "a.wsinuc") == alone["a"]
    table = rows(tmp_path)
    assert [row["result"] for row in table] == ["a.wsinuc", "b.wsinuc", "broken.wsinuc", "none.wsinuc"]
    assert int(table[0]["nuclei: round"]) + int(table[0]["nuclei: long"]) == int(table[0]["nuclei"]) > 0
    assert "no such file" in table[3]["error"]
    page = (tmp_path / "summary.md").read_text()
    assert "4 slides: 2 done, 2 failed." in page
    assert "- none (" in page


def test_slides_are_named_in_every_form(slides, alone, loads, tmp_path: Path) -> None:
    first, second = slides[0].slide, slides[1].slide
    table = tmp_path / "slides.csv"
    table.write_text(f"slide\n{second}\n", encoding="utf-8")
    summary = segment_cohort((each for each in (str(first), table)), str(tmp_path / "out"), SETTINGS)
    assert [place.name for place in summary.results] == [f"{first.stem}.wsinuc", f"{second.stem}.wsinuc"]
    assert [tree(place) for place in summary.results] == [alone[first.stem], alone[second.stem]]
    for none in ([], str(first), None):
        with pytest.raises(ConfigError, match="slide"):
            segment_cohort(none, tmp_path / "other", SETTINGS)


def test_fail_fast_stops_at_the_first_error(slides, loads, tmp_path: Path, monkeypatch) -> None:
    early = segment_cohort((slides[0], broken(tmp_path), slides[1]), tmp_path, SETTINGS, skip_errors=False)
    assert [state.state for state in early.slides] == ["skipped", "failed", "skipped"]
    failing(monkeypatch, lambda path: SlideError("gone") if path.stem == "a" else None)
    late = segment_cohort(slides, tmp_path, SETTINGS, skip_errors=False)
    assert late.slides[0].state == "failed"
    assert late.slides[2].state == "skipped"
    assert {state.name for state in late.unfinished} >= {"c"}


def test_what_may_pass_is_tried_again_after_the_others(slides, alone, loads, tmp_path: Path, monkeypatch) -> None:
    tried: list[str] = []

    def fails(path: Path) -> Exception | None:
        tried.append(path.stem)
        return SlideError("network disk away") if tried.count("a") < 3 and path.stem == "a" else None

    failing(monkeypatch, fails)
    summary = segment_cohort(slides[:2], tmp_path, SETTINGS, attempts=3)
    assert tried.count("a") == 3
    assert tried.index("b") < len(tried) - 1
    assert not summary.failed
    assert tree(tmp_path / "a.wsinuc") == alone["a"]


def test_what_cannot_pass_is_not_tried_again(slides, loads, tmp_path: Path) -> None:
    wrong = SlideJob(slide=slides[0].slide, tissue=str(tmp_path / "none.png"))
    seen: list[bool] = []
    summary = segment_cohort(
        (wrong, slides[1]),
        tmp_path,
        SETTINGS,
        attempts=5,
        on_event=lambda e: seen.append(e.again) if isinstance(e, SlideFailed) else None,
    )
    assert seen == [False]
    assert [state.name for state in summary.failed] == ["a"]
    with pytest.raises(ConfigError, match="attempts"):
        segment_cohort((), tmp_path, SETTINGS, attempts=0)


def test_interrupted_it_keeps_blocks_and_goes_on(slides, alone, loads, tmp_path: Path) -> None:
    def interrupt(event: CohortEvent) -> None:
        if isinstance(event, SlideProgress) and isinstance(event.event, BlockDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_cohort(slides, tmp_path, SETTINGS, on_event=interrupt)
    assert not list(tmp_path.glob("*.wsinuc/.run/lock"))
    assert "running" not in states(tmp_path).values()
    assert states(tmp_path)["c"] == "waiting"
    summary = segment_cohort(slides, tmp_path, SETTINGS)
    assert {job.stem: tree(job.folder(tmp_path)) for job in slides} == alone
    assert max(state.attempts for state in summary.slides) == 2


def test_a_slide_that_another_run_holds_is_left_to_it(slides, loads, tmp_path: Path) -> None:
    files = StateFolder(tmp_path)
    theirs = SlideState(name="a", slide="a.tiff", state="running", attempts=7, host="elsewhere")
    files.write(theirs)
    with ResultStore(slides[0].folder(tmp_path)).open_run({}, resume=True, overwrite=False):
        summary = segment_cohort(slides[:2], tmp_path, SETTINGS)
        assert files.read("a") == theirs
    assert [state.state for state in summary.slides] == ["failed", "done"]
    assert "is being written by process" in summary.slides[0].error
    assert [row["state"] for row in rows(tmp_path)] == ["running", "done"]


def test_models_of_slides_are_loaded_once_each_and_a_missing_one_costs_its_slides(
    slides, tmp_path: Path, monkeypatch
) -> None:
    loaded: list[str] = []

    def load(model: str, *, device: str) -> OracleSegmenter:
        loaded.append(model)
        if model == "none":
            raise CheckpointError("no model 'none'")
        return OracleSegmenter()

    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", load)
    jobs = [SlideJob(slide=job.slide, model=model) for job, model in zip(slides, ("mine", "none", "mine"), strict=True)]
    summary = segment_cohort(jobs, tmp_path, SETTINGS)
    assert [state.state for state in summary.slides] == ["done", "failed", "done"]
    assert sorted(loaded) == ["mine", "none"]
    with pytest.raises(CheckpointError):
        segment_cohort(slides, tmp_path / "new", config(block=192, model="none"))


def test_without_records_the_folder_holds_results_alone(slides, loads, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment_cohort(slides[:1], out, SETTINGS, records=False)
    assert [path.name for path in out.iterdir()] == ["a.wsinuc"]
    again = segment_cohort(slides[:1], out, SETTINGS, records=False)
    assert "already holds a complete result" in again.slides[0].error


def test_a_table_of_somebody_else_is_not_replaced(slides, loads, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("patient,diagnosis\n")
    with pytest.raises(OutputError, match=r"summary\.csv was not made by wsinuc"):
        segment_cohort(slides, tmp_path, SETTINGS)
    assert (tmp_path / "summary.csv").read_text() == "patient,diagnosis\n"
