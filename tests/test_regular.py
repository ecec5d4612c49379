"""What is no file is refused before it is opened, and sizes that cannot be before anything is made for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import wsinuc.segmenters
from helpers.odd.no_files import NO_FILES, make_no_file
from helpers.oracle import OracleSegmenter, write_slide
from wsinuc.datasets.files import read_image, read_table
from wsinuc.errors import CheckpointError, ConfigError, DataError, SlideError, WsinucError
from wsinuc.grid import BlockGrid
from wsinuc.limits import read_bounded
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.regular import require_regular
from wsinuc.slides import open_slide
from wsinuc.slides.base import Slide, SlideHeader
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.synthesis.layout_files import read_layout
from wsinuc.tissue import find_tissue
from wsinuc.tissue.load import load_tissue
from wsinuc.tissue.region import load_region
from wsinuc.workflows.cohort.slide_list import read_slide_table
from wsinuc_cli.main import main

READERS = {
    "slide": (open_slide, SlideError),
    "slide in a process": (open_isolated, SlideError),
    "table of slides": (read_slide_table, DataError),
    "model": (lambda path: load_checkpoint(path, "segmenter"), CheckpointError),
    "tissue": (lambda path: load_tissue(path, None), DataError),  # type: ignore[arg-type]
    "region": (load_region, DataError),
    "table": (lambda path: read_table(path, ("a",)), DataError),
    "image": (read_image, DataError),
    "layout": (lambda path: read_layout(path.rename(path.with_name("x.csv")), ("a",)), DataError),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_named(kind: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        require_regular(make_no_file(kind, tmp_path))
    assert str(caught.value).startswith(str(tmp_path / "x"))
    assert NO_FILES[kind] in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.timeout(120)
def test_no_reader_opens_it(reader: str, kind: str, tmp_path: Path):
    read, error = READERS[reader]
    with pytest.raises(error, match=NO_FILES[kind]):
        read(make_no_file(kind, tmp_path))


@pytest.mark.timeout(120)
def test_bounded_reading_refuses_a_pipe_and_a_device(tmp_path: Path):
    for path in (make_no_file("pipe", tmp_path), Path("/dev/zero")):
        with pytest.raises(DataError, match=r"expected a file"):
            read_bounded(path)


def test_an_ordinary_file_and_a_link_to_one_pass(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    require_regular(tmp_path / "file")
    require_regular(tmp_path / "link")


def test_the_command_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, *, device: OracleSegmenter())
    slide = write_slide(tmp_path / "good.tiff", (200, 200), levels=1)
    pipe = make_no_file("pipe", tmp_path)
    for options in ([str(pipe)], [str(slide), "--roi", str(pipe)], [str(slide), "--tissue", str(pipe)]):
        result = CliRunner().invoke(main, ["segment", *options, "-o", str(tmp_path / "out")])
        assert result.exit_code == 1
        assert f"{pipe} is a named pipe: expected a file" in result.stderr.splitlines()[-1]


class Declared(Slide):
    """A slide that declares any size."""

    reader = "declared"

    def __init__(self, shape: tuple[int, int], mpp: float) -> None:
        self._shape = shape
        super().__init__(None, mpp=mpp)

    def _open(self) -> None:
        return None

    def _describe(self) -> SlideHeader:
        return SlideHeader(level_shapes=(self._shape,))

    def _decode(self, handle, box, level):
        raise AssertionError("nothing may be read")


@pytest.mark.parametrize(
    ("shape", "block", "count"),
    [((2**40, 2**40), 2048, "288,230,376,151,711,744"), ((10**6, 10**6), 64, "244,140,625")],
)
def test_a_grid_without_end_is_refused(shape: tuple[int, int], block: int, count: str):
    with pytest.raises(ConfigError, match=f"are {count} blocks, more than 4,000,000: take a larger --block"):
        BlockGrid(shape, block, 0)


def test_the_largest_slides_fit():
    assert len(BlockGrid((1_000_000, 1_000_000), 2048, 64)) == 489**2


def test_no_mask_of_a_slide_larger_than_glass():
    slide = Declared((2**31, 2**31), 0.25)
    with pytest.raises(SlideError, match=r"would be 536,871 x 536,871 mm large, which no glass slide is"):
        find_tissue(slide.at(0.25))
    assert issubclass(SlideError, WsinucError)


@pytest.mark.parametrize("reader", ["slide", "slide in a process", "table of slides", "region"])
@pytest.mark.parametrize("name", ["x" * 300 + ".svs", "a\0b.svs", "circle/a.svs"])
def test_a_name_that_no_file_can_have_is_an_error_of_ours(reader: str, name: str, tmp_path: Path):
    (tmp_path / "circle").symlink_to("circle")
    read, error = READERS[reader]
    with pytest.raises(error, match=r"cannot|no such file"):
        read(tmp_path / name)
