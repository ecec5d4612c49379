"""What a command writes under the name that its user gives never takes the place of something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from helpers.files.label_pictures import nuclei
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import OutputError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.own_files import check_outside_results, check_place
from wsinuc.workflows.data.info import describe_dataset
from wsinuc.workflows.maps.run import check_targets, map_nuclei, write_map
from wsinuc_cli.main import main
from wsinuc_cli.progress.training import telling

SLIDE = b"II*\0\x08\0\0\0 the pixels of a slide"
COMMANDS = (
    ("train", "no-data", "-o"),
    ("pretrain", "no-data", "-o"),
    ("adapt", "fast", "no-data", "-o"),
    ("join", "no-data", "-o"),
    ("distill", "fast", "no-data", "-o"),
    ("classify", "no-data", "-o"),
    ("data", "split", "no-data", "-o"),
    ("data", "subset", "no-data", "-o"),
    ("data", "info", "no-data", "-o"),
)
"""Commands that write one file, up to its name."""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    path = tmp_path / "slide.svs"
    path.write_bytes(SLIDE)
    return path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_writes_over_a_file_that_is_not_its_own(words: tuple[str, ...], foreign: Path) -> None:
    outcome = CliRunner().invoke(main, [*words, str(foreign)])
    assert outcome.exit_code == 1
    assert f"error: {foreign} is there already and no file that this command writes" in outcome.output
    assert outcome.output.count("\n") == 1
    assert foreign.read_bytes() == SLIDE


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_folder_is_no_name_for_a_file(words: tuple[str, ...], tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, [*words, str(tmp_path)])
    assert outcome.exit_code == 1
    assert "it is a folder, and the name of a file in it is expected" in outcome.output


def test_a_file_of_ours_is_replaced(tmp_path: Path, reference: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(Checkpoint(kind="denoiser", config={}, tensors={"a": torch.zeros(1)}, provenance={}), checkpoint)
    division = tmp_path / "split.json"
    Split(dataset="a", seed=0, parts={"train": ()}).save(division)
    density = map_nuclei(reference)
    pictures = [tmp_path / "map.png", tmp_path / "map.ome.tiff"]
    for path in pictures:
        write_map(density, path)
    sheet = tmp_path / "sheet.png"
    describe_dataset(_data(tmp_path), mpp=0.25, sheet=sheet)
    nothing = tmp_path / "nothing"
    nothing.touch()
    for path in (checkpoint, division, *pictures, sheet, nothing, tmp_path / "new"):
        check_place(path)


def test_a_map_takes_no_slide_s_place_and_lies_in_no_result(reference: Path, tmp_path: Path) -> None:
    slide = tmp_path / "slide.tif"
    slide.write_bytes(SLIDE)
    with pytest.raises(OutputError, match=r"slide\.tif is there already"):
        check_targets([slide])
    for name in ("preview.png", "new.png", "new.ome.zarr"):
        with pytest.raises(OutputError, match=r"lies in the result plane\.wsinuc, whose files are sealed"):
            check_targets([reference / name])


def test_regions_are_not_written_into_a_result(reference: Path, tmp_path: Path) -> None:
    words = ["regions", str(reference), str(tmp_path / "none.geojson"), "-o", str(reference / "new.csv")]
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 1
    assert "lies in the result plane.wsinuc" in outcome.output
    # A folder of that ending without a result in it is anybody's.
    (tmp_path / "mine.wsinuc").mkdir()
    check_outside_results(tmp_path / "mine.wsinuc" / "new.csv")


def test_a_device_is_left_alone() -> None:
    with pytest.raises(OutputError, match="is a device"):
        check_place(Path(os.devnull))


def test_a_log_goes_on_and_nothing_else_does(foreign: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    for _ in range(2):
        with telling(log, bars=False) as tell:
            tell("a line")
    assert log.read_text().count("a line") == 2
    with pytest.raises(OutputError, match="is there already"), telling(foreign, bars=False):
        pass
    assert foreign.read_bytes() == SLIDE


def _data(folder: Path) -> Path:
    """A data set of one image."""
    from PIL import Image

    labels = nuclei()
    for name, pixels in (("images", (labels == 0) * 230), ("labels", labels)):
        (folder / "data" / name).mkdir(parents=True)
        image = Image.fromarray(pixels.astype("uint8"))
        image.convert("RGB" if name == "images" else "L").save(folder / "data" / name / "a.png")
    return folder / "data"
