"""Findings about machines that are well and machines that are not."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import wsinuc.segmenters
from helpers.oracle import OracleSegmenter, plane, write_slide
from wsinuc.errors import DeviceError
from wsinuc.tissue import whole
from wsinuc.workflows.doctor import libraries as library_checks
from wsinuc.workflows.doctor import machine as machine_checks
from wsinuc.workflows.doctor import run as doctor
from wsinuc.workflows.doctor import trial_block
from wsinuc.workflows.doctor.findings import Finding, fail, ok, warn
from wsinuc_cli.main import main


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, *, device: OracleSegmenter())
    monkeypatch.setattr(machine_checks, "_matrix_rate", lambda device, dtype: 1e9)


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_this_machine_passes_and_every_warning_has_advice(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json", "-o", str(tmp_path / "new"), "--device", "cpu"])
    findings = by_name(Finding(**item) for item in json.loads(result.stdout))
    assert not [finding for finding in findings.values() if finding.level == "fail"]
    assert result.exit_code == 0
    assert all(finding.advice for finding in findings.values() if finding.level != "ok")
    assert {"versions", "reader tiffslide", "codec JPEG 2000", "codec zstd", "weights fast"} <= findings.keys()
    assert {"threads", "memory", "open files", "output", "device", "trial"} <= findings.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_slide_is_tried_by_a_block_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsinuc.pipeline.selection.find_tissue", whole)  # the oracle's colours are those of ink
    slide = write_slide(tmp_path / "a.tiff", (600, 600), levels=1)
    found = trial_block.try_slide(slide, "cpu")
    assert found.level == "ok"
    assert "a.tiff, read with" in found.text
    assert " 0 nuclei" not in found.text
    slide.write_bytes(slide.read_bytes()[:100])
    (broken,) = doctor.run_check("trial", lambda: trial_block.try_slide(slide, "cpu"))
    assert broken.level == "fail"
    assert "a.tiff" in broken.text


def test_a_synthetic_slide_goes_through_to_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trial_block.synthetic()
    assert (made == trial_block.synthetic()).all()
    monkeypatch.setattr(trial_block, "synthetic", lambda: plane((256, 256)))
    assert trial_block.try_synthetic("cpu").level == "ok"
    monkeypatch.setattr(trial_block, "synthetic", lambda: np.full((256, 256, 3), 255, np.uint8))
    assert trial_block.try_synthetic("cpu").level == "fail"  # where no nucleus is found, something is wrong


def test_one_check_that_breaks_does_not_stop_the_others() -> None:
    def broken() -> Finding:
        raise ZeroDivisionError("two\nlines")

    (found,) = doctor.run_check("disk", broken)
    assert (found.name, found.level) == ("disk", "fail")
    assert found.text == "unexpected ZeroDivisionError: two lines"

    def missing() -> Finding:
        raise DeviceError("no such device")

    assert next(doctor.run_check("device", missing)).text == "no such device"


def test_the_exit_code_tells_failures_from_warnings() -> None:
    assert doctor.exit_code([ok("a", ""), warn("b", "", "do")]) == 0
    assert doctor.exit_code([ok("a", ""), fail("b", "", "do")]) == 1


def test_weights_that_are_not_those_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = library_checks.WEIGHTS
    assert [finding.level for finding in library_checks.check_weights()] == ["ok"] * 7
    shutil.copytree(shipped, tmp_path / "weights")
    monkeypatch.setattr(library_checks, "WEIGHTS", tmp_path / "weights")
    with (tmp_path / "weights" / "fast.safetensors").open("r+b") as file:
        file.write(b"version https://git-lfs")
    by_name = {finding.name: finding for finding in library_checks.check_weights()}
    whole, found = by_name["weights accurate"], by_name["weights fast"]
    assert (whole.name, whole.level) == ("weights accurate", "ok")
    assert found.level == "fail"
    assert "expected" in found.text
    (tmp_path / "weights" / "fast.safetensors").rename(tmp_path / "weights" / "mine.safetensors")
    by_name = {finding.name: finding for finding in library_checks.check_weights()}
    lost, strange = by_name["weights fast"], by_name["weights mine"]
    assert (lost.name, lost.level, lost.text) == ("weights fast", "fail", "the file is missing")
    assert (strange.name, strange.level) == ("weights mine", "warn")


def test_a_codec_that_is_missing_or_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(image) -> bytes:
        raise ImportError("built without it")

    codecs = {"A": (missing, None, 0), "B": (lambda image: b"", lambda content: np.int32(7), 0)}
    monkeypatch.setattr(library_checks, "_codecs", lambda: codecs)
    first, second = library_checks.check_codecs()
    assert (first.level, second.level) == ("fail", "fail")
    assert "built without it" in first.text
    assert "changes pixels" in second.text


def test_a_reader_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    found = by_name(library_checks.check_readers())
    assert found["reader tiffslide"].level == "fail"
    assert found["reader openslide-python"].level == "ok"


def test_machines_with_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_cgroup_limit", lambda: 10**9)
    memory = machine_checks.check_memory()
    assert memory.level == "warn"
    assert "1.0 GB allowed to this job" in memory.text
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert machine_checks.check_output(tmp_path).level == "warn"
    monkeypatch.setattr(machine_checks.torch, "get_num_threads", lambda: 10**6)
    assert "OMP_NUM_THREADS=" in machine_checks.check_threads().advice
    assert machine_checks.check_device("cuda:99").level == "fail"
    assert machine_checks.check_device("cpu").level == "warn"


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = machine_checks.check_output(tmp_path / "file" / "deeper")
    assert found.level == "fail"
    assert "-o" in found.advice


def test_the_text_shows_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda *args, **kwargs: iter([ok("a", "well"), fail("b", "ill", "rest")]))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert result.stdout.split() == ["ok", "a", "well", "fail", "b", "ill", "->", "rest"]
