"""Where little is given: no home, a read-only package, no cache, no temporary folder, closed standard streams."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest

from helpers.oracle import write_slide
from wsinuc import kernels
from wsinuc.kernels import kernel, private_folder

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "data" / "CMU-1-Small-Region.svs"
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
"""A root who obeys permissions, as every other user does."""

COMMAND = """
import sys
import wsinuc.pipeline.block, wsinuc.exports.ome_zarr.render, wsinuc.separation.joining, wsinuc.separation.watershed
from wsinuc_cli.main import main
main(sys.argv[2:])
"""
API = """
import sys
from pathlib import Path
import wsinuc
from helpers.oracle import OracleSegmenter
from wsinuc.config import SegmentConfig
from wsinuc.workflows.segment.run import segment_slide
assert Path(wsinuc.__file__).is_relative_to(sys.argv[1]), wsinuc.__file__
made = segment_slide(sys.argv[2], sys.argv[3], SegmentConfig(tissue="none", block=256), segmenter=OracleSegmenter())
print(made.nuclei)
"""


def double_of(x: float) -> float:
    return 2 * x


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the package that nobody can write."""
    folder = tmp_path_factory.mktemp("site-packages")
    for source in (ROOT / "wsinuc", ROOT / "cli" / "wsinuc_cli"):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    (folder / "wsinuc" / "weights").symlink_to(ROOT / "wsinuc" / "weights")
    (folder / "helpers").mkdir()
    shutil.copy(ROOT / "tests" / "helpers" / "oracle.py", folder / "helpers")
    everything = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in everything:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def run(package: Path, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python of the read-only package with these variables and few others."""
    prefix = AS_ANYBODY if os.getuid() == 0 else ()
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("root obeys no permissions, and there is no setpriv")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [*prefix, sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )


def read_only(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o555)
    return folder


class TestKernels:
    @pytest.mark.parametrize("program", [COMMAND, pytest.param(API, marks=pytest.mark.slow)], ids=["command", "API"])
    def test_code_is_kept_in_a_private_folder_where_nothing_else_is_writable(
        self, package: Path, tmp_path: Path, program: str
    ):
        home, temporary = read_only(tmp_path / "home"), tmp_path / "tmp"
        temporary.mkdir()
        slide = write_slide(tmp_path / "a.tiff", (200, 200), levels=1)
        arguments = ("info", slide) if program is COMMAND else (slide, tmp_path / "a.wsinuc")
        done = run(
            package,
            "-c",
            program,
            str(package),
            *map(str, arguments),
            cwd=home,
            HOME=str(home),
            TMPDIR=str(temporary),
        )
        assert done.returncode == 0, done.stderr
        assert "read with" in done.stdout if program is COMMAND else int(done.stdout) > 10
        (folder,) = temporary.glob("wsinuc-kernels-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.rglob("*.nbc"))
        assert not list(home.iterdir())

    def test_without_any_room_code_is_compiled_in_memory(self, monkeypatch: pytest.MonkeyPatch):
        def refuse(function):
            raise RuntimeError("cannot cache function: no locator available")

        monkeypatch.setattr(kernels, "_compiled", refuse)
        monkeypatch.setattr(kernels, "private_folder", lambda: None)
        compiled = kernel(double_of)
        assert compiled(4.0) == 8.0
        assert isinstance(compiled, numba.core.dispatcher.Dispatcher)

    def test_numbas_own_setting_is_left_as_it_was(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setattr(kernels, "_has_home", lambda: False)
        monkeypatch.setattr(kernels, "private_folder", lambda: tmp_path)
        monkeypatch.setattr(numba.core.config, "CACHE_DIR", "")
        assert kernel(double_of)(np.float64(3.0)) == 6.0
        assert numba.core.config.CACHE_DIR == ""
        assert list(tmp_path.rglob("*.nbc"))

    def test_no_folder_named_tilde_is_made(self, monkeypatch: pytest.MonkeyPatch):
        """What numba does for a user without a home: it loads code from ~/.cache below the current folder."""
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        assert not kernels._has_home()
        monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
        assert kernels._has_home()


class TestPrivateFolder:
    @pytest.fixture(autouse=True)
    def temporary(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        return tmp_path / f"wsinuc-kernels-{os.getuid()}"

    def test_is_made_for_this_user_alone(self, temporary: Path):
        assert private_folder() == temporary
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
        assert private_folder() == temporary

    def test_one_that_others_can_write_is_not_used(self, temporary: Path):
        temporary.mkdir()
        temporary.chmod(0o777)
        assert private_folder() is None

    def test_a_link_is_not_followed(self, temporary: Path, tmp_path: Path):
        (tmp_path / "theirs").mkdir(mode=0o700)
        temporary.symlink_to("theirs")
        assert private_folder() is None

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
    def test_another_users_is_not_used(self, temporary: Path):
        temporary.mkdir(mode=0o700)
        os.chown(temporary, 65534, 65534)
        assert private_folder() is None

    def test_the_current_folder_is_no_temporary_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.chdir(tmp_path)
        assert private_folder() is None


class TestStreams:
    @pytest.mark.parametrize(
        ("closed", "codes"),
        [(">&-", [0]), ("2>&-", [1, 2]), ("<&-", [0]), ("<&- >&- 2>&-", [0, 1, 2])],
        ids=["stdout", "stderr", "stdin", "all"],
    )
    def test_closed_ones_stop_nothing(self, tmp_path: Path, closed: str, codes: list[int]):
        """A command that prints to stdout, one that fails, and one that is mistyped, by their exit codes."""
        code = "from wsinuc_cli.main import main; main()"
        geojson = tmp_path / "a.geojson"
        geojson.write_text('{"type": "FeatureCollection", "features": []}')
        commands = (f"check {geojson}", "check nothing.geojson", "check --nonsense")
        for expected in codes:
            arguments = commands[expected]
            done = self.shell(f"'{sys.executable}' -c '{code}' {arguments} {closed}")
            assert done.returncode == expected
            assert "Traceback" not in done.stderr
            assert (done.stdout == "") == (">&-" in closed.replace("2>&-", "") or expected != 0)

    def test_what_is_opened_next_does_not_become_a_stream(self):
        code = (
            "import os; from wsinuc_cli.terminal import open_closed_streams; open_closed_streams(); "
            "os._exit(os.open('/dev/null', os.O_RDONLY))"
        )
        assert self.shell(f"'{sys.executable}' -c \"{code}\" <&- >&- 2>&-").returncode > 2

    def test_a_reader_that_leaves_stops_nothing(self):
        code = "from wsinuc_cli.terminal import echo; [echo(i) for i in range(99999)]; echo(1, err=True)"
        done = self.shell(f"set -o pipefail; '{sys.executable}' -c '{code}' | head -1")
        assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "1\n")

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
        environment = os.environ | {"PYTHONPATH": paths}
        return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=120)
