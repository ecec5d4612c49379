"""Learned classes that are applied: what ``wsinuc classify -o`` writes, beside the result that is looked at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import wsinuc
from helpers.killed import in_child
from wsinuc import aside, own_files
from wsinuc.errors import OutputError
from wsinuc.nuclei import read_nuclei
from wsinuc.workflows.reclassify import write
from wsinuc.workflows.reclassify.ask import next_questions
from wsinuc.workflows.reclassify.learn import learn_classes
from wsinuc.workflows.reclassify.marks import read_marks
from wsinuc.workflows.reclassify.tables import open_tables
from wsinuc.workflows.reclassify.write import WriteConfig, write_classified
from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.teach.apply import Applying, applied_path
from wsinuc.workflows.view.teach.doubtful import BATCH, next_doubtful
from wsinuc.workflows.view.teach.labels import labels_path
from wsinuc.workflows.view.tiles.style import Style


@pytest.fixture(scope="module")
def taught(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A result whose classes were learned from labels."""
    folder = tmp_path_factory.mktemp("taught") / "plane.wsinuc"
    shutil.copytree(reference, folder)
    opened = Opened(Source(folder))
    assert opened.teaching is not None
    for kind, name in enumerate(("<b>Round</b> ones", "Long ones")):
        rows = np.flatnonzero(opened.teaching.table.classes == kind)[::12]
        opened.teaching.give(rows.tolist(), name)
    opened.teaching.learn()
    return opened


@pytest.fixture
def opened(taught: Opened, tmp_path: Path) -> Opened:
    """A copy of it, to be written beside."""
    folder = tmp_path / "plane.wsinuc"
    shutil.copytree(folder_of(taught), folder)
    shutil.copy(labels_path(folder_of(taught)), labels_path(folder))
    opened = Opened(Source(folder))
    assert opened.teaching is not None
    learned = learned_of(taught)
    opened.teaching.learned = replace(learned, source=replace(learned.source, folder=folder))
    return opened


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preview and report take longer than all the rest; the test in the browser has them written."""
    monkeypatch.setattr(write, "write_pictures", lambda *_, **__: None)


def folder_of(opened: Opened) -> Path:
    assert opened.source.result is not None
    return opened.source.result


def learned_of(opened: Opened):
    assert opened.teaching is not None
    assert opened.teaching.learned is not None
    return opened.teaching.learned


def apply(opened: Opened, *, replace: bool = False) -> Applying:
    job = Applying(folder_of(opened))
    job.start(learned_of(opened), replace=replace)
    ended(job)
    return job


def ended(job: Applying) -> None:
    until(lambda: job.state != "writing")


def until(holds: Callable[[], bool]) -> None:
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it takes too long")


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_what_classify_writes_and_nothing_else(opened: Opened, tmp_path: Path) -> None:
    before = content_of(folder_of(opened))
    job = apply(opened)
    assert (job.state, job.stage) == ("done", "")
    assert job.out == tmp_path / "classified" / "plane.wsinuc"
    assert sum(job.counts.values()) == len(learned_of(opened).classes)
    assert content_of(folder_of(opened)) == before
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"plane.wsinuc", "plane.labels.geojson", "classified"}
    tables = open_tables([folder_of(opened)])
    classifier = learn_classes(tables, [read_marks(tmp_path / "plane.labels.geojson")])
    written = write_classified(tables[0], classifier, tmp_path / "other.wsinuc", WriteConfig())
    ours = content_of(job.out)
    theirs = content_of(written.folder)
    del ours[Path("summary.json")], theirs[Path("summary.json")]
    assert ours == theirs
    classes = np.concatenate([read_nuclei(path).classes for path in sorted((job.out / "nuclei").iterdir())])
    assert (classes == learned_of(opened).classes).all()
    assert json.loads((job.out / "summary.json").read_text())["classified"]["settings"]["folds"] == 5


def test_what_it_has_written_is_replaced_only_when_that_is_said(opened: Opened) -> None:
    first = content_of(apply(opened).out)
    (applied_path(folder_of(opened)) / "notes.txt").write_text("mine")
    assert apply(opened).state == "there"
    assert opened.teaching is not None
    opened.teaching.give([5, 6, 7], "Odd ones")
    opened.teaching.learn()
    job = apply(opened, replace=True)
    assert job.state == "done"
    assert set(job.counts) == {"<b>Round</b> ones", "Long ones", "Odd ones"}
    assert (job.out / "notes.txt").read_text() == "mine"
    assert content_of(job.out) != first


def test_what_others_have_put_there_is_never_replaced(opened: Opened, reference: Path) -> None:
    place = applied_path(folder_of(opened))
    place.parent.mkdir()
    shutil.copytree(reference, place)
    before = content_of(place)
    with pytest.raises(OutputError, match="not made of this result by learning"):
        Applying(folder_of(opened)).start(learned_of(opened), replace=True)
    assert content_of(place) == before


def test_a_second_click_and_the_end_of_the_program(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Applying(folder_of(opened))
    stages: list[str] = []

    def hold(stage: str) -> None:
        stages.append(stage)
        until(lambda: job._stopping)
        Applying._tell(job, stage)

    monkeypatch.setattr(job, "_tell", hold)
    job.start(learned_of(opened), replace=False)
    until(lambda: bool(stages))
    thread = job._thread
    job.start(learned_of(opened), replace=True)
    assert job._thread is thread
    job.stop()
    assert job.state == "idle"
    # Nothing is left of what was begun.
    assert {path.name for path in folder_of(opened).parent.iterdir()} == {"plane.wsinuc", "plane.labels.geojson"}


def killed(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_place(new: Path, target: Path, take_place=aside.take_place) -> None:
    take_place(new, target)
    killed()


MOMENTS = {
    "sign the new folder": (own_files, "create", killed),
    "write the outlines": (write, "write_geojson", killed),
    "clear away what the last one has left": (aside.shutil, "rmtree", killed),
    "give it its name": (aside, "take_place", killed),
    "remove the old one": (aside, "take_place", killed_in_place),
}
"""What the process is about to do when it is killed."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_leaves_the_old_result_or_the_new_one(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    out = apply(opened).out
    old = content_of(out)
    assert opened.teaching is not None
    learned = learned_of(opened)
    opened.teaching.learned = with_other_names(learned)

    def replace_it() -> None:
        assert apply(opened, replace=True).state == "done"

    for moment, (module, name, end_here) in MOMENTS.items():
        end = in_child(replace_it, partial(monkeypatch.setattr, module, name, end_here))
        assert end.code == -signal.SIGKILL, (moment, end)
        assert (content_of(out) == old) == (moment != "remove the old one"), moment
        # What is left does not show: the viewer starts with the results alone.
        assert [source.place for source in find_sources(out.parent).sources.values()] == [out]
    assert wsinuc.verify(out).state == "whole"
    assert Opened(Source(out)).table is not None
    # Each has cleared away what the one before it has left.
    assert len(list(out.parent.iterdir())) == 2
    replace_it()
    assert wsinuc.verify(out).state == "whole"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def with_other_names(learned):
    """The same classes under other names, so that every file that says them is another one."""
    classes = tuple(replace(each, name=f"other {each.name}") for each in learned.classifier.classes)
    return replace(learned, classifier=replace(learned.classifier, classes=classes))


def test_a_failure_is_a_sentence_and_leaves_nothing(opened: Opened) -> None:
    image = next(path for path in (folder_of(opened) / "labels.ome.zarr/labels/nuclei/0").rglob("*") if path.is_file())
    image.write_bytes(b"damaged")
    job = apply(opened)
    assert job.state == "failed"
    assert "is damaged: labels.ome.zarr" in job.stage
    assert {path.name for path in folder_of(opened).parent.iterdir()} == {"plane.wsinuc", "plane.labels.geojson"}


def test_next_doubtful_goes_through_what_classify_would_ask(opened: Opened, tmp_path: Path) -> None:
    tables = open_tables([folder_of(opened)])
    learned = learn_classes(tables, [read_marks(tmp_path / "plane.labels.geojson")])
    questions = next_questions(tables, learned, BATCH)
    table = opened.table
    assert table is not None
    rows = [next_doubtful(opened, Style()) for _ in range(BATCH)]
    assert {int(table.ids[row]) for row in rows if row is not None} == {question.id for question in questions}
    doubts = [learned_of(opened).doubt[row] for row in rows]
    assert doubts == sorted(doubts, reverse=True)
    # Then another batch, and none of what is labelled, hidden or was looked at.
    assert opened.teaching is not None
    one_class = Style(hidden=frozenset({0}))
    more = {next_doubtful(opened, one_class) for _ in range(5)}
    assert len(more) == 5
    assert not more & {*rows, *opened.teaching.labelled(), None}
    assert {int(table.classes[row]) for row in more if row is not None} == {1}


def test_before_anything_is_learned_doubt_is_the_models_own(reference: Path) -> None:
    opened = Opened(Source(reference))
    assert opened.teaching is not None
    table = opened.teaching.table
    rows = [next_doubtful(opened, Style()) for _ in range(BATCH)]
    assert len({*rows}) == BATCH
    assert None not in rows
    # Over the whole slide, in each of its quarters.
    middle = (np.median(table.y), np.median(table.x))
    quarters = {(bool(table.y[row] > middle[0]), bool(table.x[row] > middle[1])) for row in rows if row is not None}
    assert len(quarters) == 4
