"""Slides in a process of their own: the same pixels, and whatever a decoder does ends that slide alone."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import threading
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import wsinuc.segmenters
from helpers.files.slides import write_pyramid
from helpers.killed import DONE, in_child
from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import config, tree
from wsinuc.errors import ConfigError, MppError, ReadError, SlideError
from wsinuc.grid import Box
from wsinuc.pipeline.executor import open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig
from wsinuc.slides import open_slide
from wsinuc.slides.base import Slide, SlideHeader
from wsinuc.slides.isolation import isolated, processes
from wsinuc.slides.isolation.isolated import ReaderLimits, open_isolated
from wsinuc.slides.view import read_resilient
from wsinuc.typed_json import from_json
from wsinuc.workflows.cohort.run import segment_cohort
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.segment.run import segment_slide

EXAMPLE = Path(__file__).parents[2] / "examples" / "data" / "CMU-1-Small-Region.svs"
HOSTILE = Path(__file__).parents[1] / "helpers" / "hostile_reader"
BAD = 7
"""Every pixel of the slide that kills."""
DEATHS = {
    "abort": r"the reader ended with signal 6 \(aborted\)",
    "loop": r"the reader took more than 2 s of CPU",
    "memory": r"the reader needs more than the 1 GiB it may take",
    "sleep": r"the reader did not answer for 2 s",
}


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reader processes find a decoder that goes wrong when the file's name says so, and are allowed little."""
    monkeypatch.syspath_prepend(HOSTILE)
    monkeypatch.setattr(isolated, "ReaderLimits", partial(ReaderLimits, memory_bytes=2**30, cpu_s=2))
    monkeypatch.setattr(processes, "_idle", [])


def hostile_slide(folder: Path, name: str) -> Path:
    path = folder / f"{name}.svs"
    path.write_bytes(b"anything")
    return path


def hurry(slide: Slide, wall_s: float) -> None:
    """Allow the reader of an open slide so little time from here on: to start it may take longer."""
    session = slide._acquire()
    session.process.limits = replace(session.process.limits, wall_s=wall_s)
    for connection in session._idle:
        connection.limit(wall_s)


def pids() -> set[int]:
    return {process._popen.pid for process in processes._idle}


class End:
    """What `weakref.finalize` is to a reader process, without one."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self) -> None:
        self.calls.append("end")

    def detach(self) -> None:
        self.calls.append("detach")


class IdleProcess:
    """As much of a reader process as waiting for a slide takes."""

    def __init__(self, limits: ReaderLimits, surroundings: tuple[object, ...] | None = None) -> None:
        self.limits = limits
        self.surroundings = surroundings or processes._surroundings()
        self.end = End()


class TestSamePixels:
    def test_header_and_pixels_are_those_of_the_slide_itself(self):
        with open_slide(EXAMPLE) as plain, open_isolated(EXAMPLE) as slide:
            assert slide.header == plain.header
            assert (slide.reader, slide.name, slide.mpp) == (plain.reader, plain.name, plain.mpp)
            for box in (Box(0, 0, 300, 500), Box(-5, -5, 20, 20), Box(2900, 2200, 3000, 2300)):
                assert np.array_equal(slide.read(box), plain.read(box))
            view, other = slide.at(1.0), plain.at(1.0)
            assert np.array_equal(view.read(Box(10, 20, 400, 300)), other.read(Box(10, 20, 400, 300)))
            assert np.array_equal(slide.thumbnail(200), plain.thumbnail(200))

    def test_a_header_crosses_whole(self):
        header = SlideHeader(
            level_shapes=((300, 200), (30, 20)),
            vendor="a",
            mpp_yx=(0.25, 1.0),
            mpp_source="b",
            objective_power=20.0,
            bounds=Box(1, 2, 30, 40),
            associated=("label",),
            dialect="rgb, 12 bits",
            notes=("c", "d"),
            properties={"e": "f"},
        )
        empty = SlideHeader(level_shapes=((1, 1),))
        assert all(getattr(header, field.name) != getattr(empty, field.name) for field in fields(SlideHeader))
        for each in (header, empty):
            assert from_json(SlideHeader, json.loads(json.dumps(asdict(each))), error=SlideError, subject="") == each

    def test_many_threads_read_over_one_process(self):
        with open_isolated(EXAMPLE) as slide:
            expected = slide.read(Box(0, 0, 900, 900))
            found: list[np.ndarray] = [expected] * 6

            def read(index: int) -> None:
                for _ in range(4):
                    found[index] = slide.read(Box(0, 0, 900, 900))

            threads = [threading.Thread(target=read, args=(index,)) for index in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert all(np.array_equal(pixels, expected) for pixels in found)

    def test_a_fork_that_closes_it_leaves_it_open_for_its_parent(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(processes, "_idle", [])
        with open_isolated(EXAMPLE) as slide:
            expected = slide.read(Box(0, 0, 9, 9))
            assert in_child(slide.close).code == DONE
            np.testing.assert_array_equal(slide.read(Box(0, 0, 9, 9)), expected)

    def test_a_process_serves_one_slide_after_the_other(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setattr(processes, "_idle", [])
        open_isolated(EXAMPLE).close()
        first = pids()
        other = write_pyramid(tmp_path / "other.tif", [np.full((200, 300, 3), 90, np.uint8)])
        with open_isolated(other) as slide:
            assert slide.level_shapes == ((200, 300),)
            assert (slide.read(Box(0, 0, 5, 5)) == 90).all()
        assert len(first) == 1
        assert pids() == first

    def test_a_relative_path_starts_where_the_asking_process_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setattr(processes, "_idle", [])
        served: list[set[int]] = []
        for grey in (90, 30):
            folder = tmp_path / str(grey)
            folder.mkdir()
            write_pyramid(folder / "a.tif", [np.full((200, 300, 3), grey, np.uint8)])
            monkeypatch.chdir(folder)
            with open_isolated("a.tif") as slide:
                assert (slide.read(Box(0, 0, 5, 5)) == grey).all()
            served.append(pids())
        assert served[0] == served[1]

    def test_processes_of_another_environment_give_way(self, monkeypatch: pytest.MonkeyPatch):
        """Else two of them would keep every later one from being kept."""
        monkeypatch.setattr(processes, "_idle", [])
        limits = ReaderLimits()
        before = [IdleProcess(limits) for _ in range(processes.SPARE)]
        parents = IdleProcess(limits, (0, *processes._surroundings()[1:]))
        processes._idle[:] = [parents, *before]
        monkeypatch.setenv("AWS_PROFILE", "another")
        process = IdleProcess(limits)
        processes.keep_process(process)
        assert processes._idle == [process]
        assert [each.end.calls for each in before] == [["end"]] * processes.SPARE
        assert parents.end.calls == ["detach"]
        assert processes.spare_process(limits) is process

    def test_pickles_as_its_path(self):
        with open_isolated(EXAMPLE) as slide, pickle.loads(pickle.dumps(slide)) as other:
            assert np.array_equal(other.read(Box(0, 0, 50, 50)), slide.read(Box(0, 0, 50, 50)))

    def test_closed_is_closed(self):
        slide = open_isolated(EXAMPLE)
        slide.close()
        with pytest.raises(SlideError, match="was closed"):
            slide.read(Box(0, 0, 5, 5))


class TestSameErrors:
    def test_what_open_slide_says(self, tmp_path: Path):
        for name, content in (("empty.svs", b""), ("garbage.svs", b"no slide at all")):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(SlideError) as plain:
                open_slide(tmp_path / name)
            with pytest.raises(SlideError) as found:
                open_isolated(tmp_path / name)
            assert str(found.value) == str(plain.value)
        with pytest.raises(SlideError, match="no such file"):
            open_isolated(tmp_path / "none.svs")
        with pytest.raises(ConfigError, match="no reader 'bioformats'"):
            open_isolated(EXAMPLE, reader="bioformats")
        with pytest.raises(MppError):
            open_isolated(EXAMPLE, mpp=40.0)

    def test_one_damaged_region_costs_that_region(self, tmp_path: Path):
        levels = [np.full((600, 600, 3), 200, np.uint8)]
        path = write_pyramid(tmp_path / "damaged.tif", levels)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 40] = b"\xff" * 40
        path.write_bytes(data)
        box = Box(0, 0, 600, 600)
        with open_slide(path, mpp=0.5) as plain, open_isolated(path, mpp=0.5) as slide:
            with pytest.raises(ReadError) as found:
                slide.read(box)
            with pytest.raises(ReadError) as expected:
                plain.read(box)
            assert str(found.value) == str(expected.value)
            pixels, lost = read_resilient(slide.at(0.5), box)
            others, other_lost = read_resilient(plain.at(0.5), box)
            assert np.array_equal(pixels, others)
            assert lost == other_lost
            assert lost


class TestDeaths:
    @pytest.mark.parametrize("deed", ["abort", "loop", "sleep"])
    def test_at_opening(self, hostile: None, tmp_path: Path, deed: str):
        limits = isolated.ReaderLimits(wall_s=2.0) if deed == "sleep" else None
        with pytest.raises(SlideError, match=rf"^{deed}-open.svs: {DEATHS[deed]} while opening it: .*left out$"):
            open_isolated(hostile_slide(tmp_path, f"{deed}-open"), limits=limits)

    def test_memory_at_opening(self, hostile: None, tmp_path: Path):
        with pytest.raises(SlideError, match=r"^memory-open.svs: no slide .*Unable to allocate 128. MiB"):
            open_isolated(hostile_slide(tmp_path, "memory-open"))

    @pytest.mark.parametrize("deed", DEATHS)
    def test_at_a_later_read_and_ever_after(self, hostile: None, tmp_path: Path, deed: str):
        with open_isolated(hostile_slide(tmp_path, f"{deed}-3")) as slide:
            if deed == "sleep":
                hurry(slide, 2.0)
            view = slide.at(0.5)
            for _ in range(2):
                read_resilient(view, Box(0, 0, 50, 50))
            for _ in range(2):
                with pytest.raises(SlideError, match=rf"{DEATHS[deed]} while decoding rows 0-50, .* of level 0"):
                    read_resilient(view, Box(0, 0, 50, 50))

    def test_only_a_fresh_process_is_a_proof(self, hostile: None, tmp_path: Path):
        """A process that a former slide has spoilt dies at the next one, which is none the worse for it."""
        open_isolated(hostile_slide(tmp_path, "good")).close()
        (process,) = processes._idle
        process._popen.send_signal(signal.SIGABRT)
        process._popen.wait()
        with open_isolated(hostile_slide(tmp_path, "fine")) as slide:
            assert slide.read(Box(0, 0, 5, 5)).shape == (5, 5, 3)
            slide.close()
        with open_isolated(hostile_slide(tmp_path, "good")) as slide:
            session = slide._acquire()
            assert not session.process.fresh
            session.process._popen.kill()
            assert slide.read(Box(0, 0, 5, 5)).shape == (5, 5, 3)

    def test_ctrl_c_is_not_for_the_reader(self, hostile: None, tmp_path: Path):
        with open_isolated(hostile_slide(tmp_path, "good")) as slide:
            slide._acquire().process._popen.send_signal(signal.SIGINT)
            assert slide.read(Box(0, 0, 5, 5)).shape == (5, 5, 3)

    @pytest.mark.parametrize(
        "names",
        [["abort-open", "abort-20"], pytest.param(["loop-20", "memory-20"], marks=pytest.mark.slow)],
        ids=["aborts", "limits"],
    )
    def test_one_slide_costs_one_slide(
        self, hostile: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str]
    ):
        monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, device: OracleSegmenter())
        settings = config(block=192)
        good = [write_slide(tmp_path / f"{name}.tiff", (300, 200), levels=1, seed=1) for name in "ac"]
        bad = [hostile_slide(tmp_path, name) for name in names]
        jobs = [SlideJob(slide=path) for path in (good[0], *bad, good[1])]
        summary = segment_cohort(jobs, tmp_path / "out", settings)
        assert [state.state for state in summary.slides] == ["done", "failed", "failed", "done"]
        for state in summary.failed:
            assert str(state.error).endswith("the file is damaged or hostile; it is left out")
        for path in good:
            segment_slide(path, tmp_path / f"{path.stem}.wsinuc", settings, segmenter=OracleSegmenter())
            assert tree(tmp_path / "out" / f"{path.stem}.wsinuc") == tree(tmp_path / f"{path.stem}.wsinuc")


@dataclass(frozen=True)
class Deadly(OracleSegmenter):
    """Kills the process that shows it a tile of slide "bad"."""

    def __reduce__(self) -> tuple[object, ...]:
        return Deadly, super().__reduce__()[1]

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        if (pixels == BAD).all(axis=(1, 2, 3)).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(pixels)


@pytest.mark.slow
class TestWorkers:
    @pytest.fixture
    def good(self, tmp_path: Path) -> list[Path]:
        return [write_slide(tmp_path / f"{name}.tiff", (600, 600), levels=1, seed=1) for name in "abc"]

    def cohort(self, paths: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch, segmenter: OracleSegmenter) -> list:
        monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, device: segmenter)
        jobs = [SlideJob(slide=path) for path in paths]
        with open_executor(ExecutorConfig(kind="processes", workers=2, retries=2)) as executor:
            return list(segment_cohort(jobs, out, config(block=128), executor=executor).slides)

    def test_a_reader_that_dies_costs_its_slide(
        self, hostile: None, good: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        paths = [good[0], hostile_slide(tmp_path, "abort-20"), *good[1:]]
        found = self.cohort(paths, tmp_path / "out", monkeypatch, OracleSegmenter())
        assert [state.state for state in found] == ["done", "failed", "done", "done"]
        assert re.search(DEATHS["abort"], str(found[1].error))

    def test_a_slide_that_kills_each_worker_costs_itself(
        self, good: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        bad = write_pyramid(tmp_path / "bad.tiff", [np.full((600, 600, 3), BAD, np.uint8)], per_cm=20_000)
        found = self.cohort([good[0], bad, *good[1:]], tmp_path / "out", monkeypatch, Deadly())
        assert [state.state for state in found] == ["done", "failed", "done", "done"]
        assert "the worker died in each of 3 attempts" in str(found[1].error)
