"""The folder of a synthesis: a data set whose samples are there wholly or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from helpers.files.datasets import files
from wsinuc.datasets import open_dataset
from wsinuc.datasets.files import read_table
from wsinuc.errors import OutputError, SynthesisError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.store.lock import locked
from wsinuc.workflows.synthesize.folder import SyntheticSample, samples_in, writing

CLASSES = (NucleusClass("a, b", (1, 2, 3)), NucleusClass("c", (200, 0, 9)))
SETTINGS = {
    "method": "cosyn",
    "mpp": 0.5,
    "seed": 3,
    "sampler": "dpm++",
    "steps": 20,
    "guidance": 1.0,
    "checkpoints": {"model": "f" * 64},
}


def made(index: int, *, classes: bool = True) -> SyntheticSample:
    rng = np.random.default_rng(index)
    labels = np.zeros((24, 24), np.int32)
    labels[2:8, 2:8], labels[12:20, 10:20] = 1, 300
    kinds = np.zeros(301, np.int32)
    kinds[[1, 300]] = 2, 1
    return SyntheticSample(
        index=index,
        image=rng.integers(0, 256, (24, 24, 3), np.uint8),
        labels=labels,
        classes=kinds if classes else None,
        tissue="colon",
        prompt="high-quality image, of\n nuclei",
        source="random",
    )


def test_samples_come_back_as_a_data_set(tmp_path: Path) -> None:
    with writing(tmp_path / "set", SETTINGS, CLASSES) as target:
        for index in (0, 1):
            target.add(made(index))
        target.draw_sheet()
    dataset = open_dataset(tmp_path / "set")
    assert [c.name for c in dataset.classes] == ["a, b", "c"]
    assert dataset.classes[1].color == (200, 0, 9)
    assert dataset.names == ("cosyn-000000", "cosyn-000001")
    for index, image in enumerate(dataset):
        sample = made(index)
        assert np.array_equal(image.image, sample.image)
        assert np.array_equal(image.labels, sample.labels)
        assert image.classes is not None
        assert image.classes[[1, 300]].tolist() == [2, 1]
        assert image.mpp == 0.5
    row = dataset.rows[1]
    assert row["prompt"] == "high-quality image, of nuclei"
    assert (row["tissue"], row["seed"], row["index"], row["steps"]) == ("colon", "3", "1", "20")
    assert row["checkpoints"] == "f" * 64
    assert (tmp_path / "set" / "contact_sheet.png").stat().st_size > 1000


def test_sets_without_classes_have_none(tmp_path: Path) -> None:
    with writing(tmp_path, SETTINGS, ()) as target:
        target.add(made(0, classes=False))
    assert open_dataset(tmp_path)[0].classes is None
    assert not (tmp_path / "classes").exists()


@pytest.mark.parametrize("torn", [1, 40])
def test_a_set_goes_on_after_being_killed_in_the_middle_of_a_line(tmp_path: Path, torn: int) -> None:
    """The same bytes as of a set that was written at once."""
    with writing(tmp_path / "whole", SETTINGS, CLASSES) as target:
        for index in (0, 1, 2):
            target.add(made(index))
    with writing(tmp_path / "killed", SETTINGS, CLASSES) as target:
        target.add(made(0))
        target.add(made(1))
    manifest = tmp_path / "killed" / "manifest.csv"
    manifest.write_bytes(manifest.read_bytes()[:-torn])
    assert samples_in(tmp_path / "killed", SETTINGS, CLASSES) == {0}
    with writing(tmp_path / "killed", SETTINGS, CLASSES) as target:
        assert target.done == {0}
        for index in (1, 2):
            target.add(made(index))
        assert target.done == {0, 1, 2}
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_killed_in_the_header(tmp_path: Path) -> None:
    with writing(tmp_path, SETTINGS, ()) as target:
        pass
    (tmp_path / "manifest.csv").write_bytes(b"name,mp")
    with writing(tmp_path, SETTINGS, ()) as target:
        target.add(made(0, classes=False))
    assert len(read_table(tmp_path / "manifest.csv", ("name", "index", "guidance"))) == 1


def test_a_sample_counts_only_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(28, "No space left on device")

    with writing(tmp_path, SETTINGS, ()) as target:
        target.add(made(0, classes=False))
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OutputError, match=r"no space left.*goes on"):
            target.add(made(1, classes=False))
        assert target.done == {0}
    monkeypatch.undo()
    assert samples_in(tmp_path, SETTINGS, ()) == {0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 50}, "steps: 20 there, 50 asked for"),
        ({"checkpoints": {"model": "0" * 64}}, "checkpoints: .*ffff.*0000"),
        ({"prompt": "x"}, "prompt: None there, x asked for"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict, said: str) -> None:
    with writing(tmp_path, SETTINGS, ()) as target:
        target.add(made(0, classes=False))
    before = files(tmp_path)
    with pytest.raises(OutputError, match=said), writing(tmp_path, SETTINGS | change, ()):
        pass
    with pytest.raises(OutputError, match="classes"), writing(tmp_path, SETTINGS, CLASSES):
        pass
    assert files(tmp_path) == before


def test_a_set_without_a_sample_takes_other_settings(tmp_path: Path) -> None:
    """One whose first sample failed: too much guidance, too large a batch, a wrong layout."""
    with writing(tmp_path / "new", SETTINGS | {"steps": 50}, ()) as target:
        target.add(made(0, classes=False))
    for classes in (CLASSES, CLASSES[::-1], ()):
        with writing(tmp_path / "failed", SETTINGS, classes):
            assert samples_in(tmp_path / "failed", SETTINGS | {"steps": 50}, ()) == frozenset()
    with writing(tmp_path / "failed", SETTINGS | {"steps": 50}, ()) as target:
        target.add(made(0, classes=False))
    assert files(tmp_path / "failed") == files(tmp_path / "new")
    assert open_dataset(tmp_path / "failed")[0].classes is None


def test_what_is_no_synthesis_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(OutputError, match="holds images and no synthesis"), writing(tmp_path, SETTINGS, ()):
        pass
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="is a file"), writing(file, SETTINGS, ()):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "images"]


def test_two_processes_do_not_write_one_set(tmp_path: Path) -> None:
    (tmp_path / ".synthesis").mkdir()
    with locked(tmp_path / ".synthesis" / "lock"), pytest.raises(OutputError, match="being written by process"):  # noqa: SIM117
        with writing(tmp_path, SETTINGS, ()):
            pass


def test_too_many_nuclei_for_16_bit(tmp_path: Path) -> None:
    sample = SyntheticSample(index=4, image=np.zeros((2, 2, 3), np.uint8), labels=np.full((2, 2), 70_000, np.int32))
    with writing(tmp_path, SETTINGS, ()) as target, pytest.raises(SynthesisError, match=r"sample 4 .*65535"):
        target.add(sample)
