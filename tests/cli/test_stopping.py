"""Commands that are told to end: exit code, no traceback, nothing left behind, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from helpers.runs import run, tree
from wsinuc.store.manifest import inspect

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and process groups")

COMMAND = """
import os, signal, sys
import wsinuc.segmenters
from helpers.oracle import OracleSegmenter
from wsinuc_cli import stopping

class Asked(OracleSegmenter):
    def predict(self, pixels):
        open("asked", "w").close()
        return super().predict(pixels)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when the tests run as a background job
    wsinuc.segmenters.load_segmenter = lambda model, device: Asked(delay=float(os.environ["DELAY"]))
    stopping.GRACE_S = float(os.environ["GRACE"])
    stopping.TOGETHER_S = float(os.environ["TOGETHER"])
    from wsinuc_cli.main import main
    main()
"""
NOTICE = "interrupted; run the same command again to continue"
PATIENCE_S = 240.0
"""For what comes at once on a machine that has nothing else to do."""
ENDED = "ended before running blocks did; run the same command again to continue"


class Command:
    """``wsinuc segment`` with the oracle in a process group of its own, waited for until it is at its blocks."""

    def __init__(
        self, folder: Path, *arguments: object, delay: float = 0.02, grace: float = 240.0, together: float = 1.0
    ) -> None:
        self.out = folder / "plane.wsinuc"
        self.scratch = folder / "scratch"
        self.scratch.mkdir(exist_ok=True)
        (folder / "command.py").write_text(COMMAND)
        times = {"DELAY": str(delay), "GRACE": str(grace), "TOGETHER": str(together)}
        settings = {**times, "TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "command.py"), "segment", *map(str, arguments), "--tissue", "none"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_blocks(self, count: int) -> None:
        self._wait_until(
            lambda: (
                len(list(self.out.rglob(".run/done/*.json"))) >= count and (self.out / ".run" / "calibration").exists()
            )
        )

    def wait_for_the_network(self) -> None:
        """Until a block asks the network, in the process of the command itself."""
        self._wait_until((self.out.parent / "asked").exists)

    def _wait_until(self, come: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not come():
            assert time.monotonic() < give_up
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def end(self, *signals: int, group: bool = True, pause_s: float = 0.0) -> tuple[int, str]:
        """Exit code and stderr after these signals; afterwards no process of the command is left."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        for number, signum in enumerate(signals):
            time.sleep(pause_s if number else 0.0)
            (os.killpg if group else os.kill)(self.process.pid, signum)
        _, err = self.process.communicate(timeout=PATIENCE_S)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert not alive
        return self.process.returncode, err


def test_sigterm_ends_threads_in_order(slide: Path, reference: Path, tmp_path: Path) -> None:
    """Two signals in one moment are one: ``timeout`` signals its child, and then the whole group."""
    command = Command(tmp_path, slide, "--block", 256)
    command.wait_for_blocks(2)
    code, err = command.end(signal.SIGTERM, signal.SIGTERM)
    assert code == 143, err
    assert err.splitlines()[-1] == NOTICE
    assert "Traceback" not in err
    assert not (command.out / ".run" / "lock").exists()
    assert run(slide, command.out).resumed_blocks >= 2
    assert tree(command.out) == tree(reference)


@pytest.mark.slow  # that workers are deaf to these signals is asked of them in tests/pipeline/test_cluster.py
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_worker_processes_leave_signals_of_the_group_to_the_command(
    slide: Path, reference: Path, tmp_path: Path, signum: int, code: int
) -> None:
    command = Command(tmp_path, slide, "--block", 256, "--workers", 2)
    command.wait_for_blocks(1)
    found, err = command.end(signum)
    assert found == code, err
    assert err.splitlines()[-1] == NOTICE
    assert "Traceback" not in err
    assert not (command.out / ".run" / "lock").exists()
    assert list(command.scratch.iterdir()) == []
    assert run(slide, command.out).resumed_blocks >= 1
    assert tree(command.out) == tree(reference)


def test_blocks_that_take_too_long_after_sigterm_are_dropped(slide: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, slide, "--block", 256, delay=3600, grace=0.5)
    command.wait_for_the_network()
    code, err = command.end(signal.SIGTERM)
    assert code == 143
    assert err.splitlines()[-1] == ENDED
    assert not (command.out / ".run" / "lock").exists()  # so another node need not wait until it is stale


def test_a_second_ctrl_c_ends_at_once(slide: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, slide, "--block", 256, delay=3600, together=0.1)
    command.wait_for_the_network()
    code, err = command.end(signal.SIGINT, signal.SIGINT, pause_s=1.2)
    assert code == 130
    assert err.splitlines()[-1] == ENDED
    assert not (command.out / ".run" / "lock").exists()


@pytest.mark.slow
def test_a_closed_terminal_ends_a_command_in_order_and_nohup_does_not(slide: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, slide, "--block", 256)
    command.wait_for_blocks(1)
    assert command.end(signal.SIGHUP)[0] == 129
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command = Command(tmp_path, slide, "--block", 256)
    finally:
        signal.signal(signal.SIGHUP, before)
    command.wait_for_blocks(2)
    assert command.end(signal.SIGHUP)[0] == 0


@pytest.mark.slow
def test_slides_under_way_wait_for_the_next_run_after_sigterm(slide: Path, reference: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.tiff"
    twin.write_bytes(slide.read_bytes())
    command = Command(tmp_path, slide, twin, "--block", 256)
    command.wait_for_blocks(2)
    code, err = command.end(signal.SIGTERM)
    assert code == 143, err
    assert "Traceback" not in err
    for path in (command.out, tmp_path / "twin.wsinuc"):
        assert not (path / ".run" / "lock").exists()
    assert '"state": "waiting"' in (tmp_path / ".wsinuc" / "plane.json").read_text()


@pytest.mark.slow
def test_worker_processes_do_not_outlive_a_killed_command(slide: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, slide, "--block", 256, "--workers", 2, delay=60)
    command.wait_for_blocks(0)
    assert command.end(signal.SIGKILL, group=False)[0] == -signal.SIGKILL


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_by_a_stranger_works_on(slide: Path, reference: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, slide, "--block", 256, "--workers", 2)
    command.wait_for_blocks(1)
    family = psutil.Process(command.process.pid).children(recursive=True)
    for _ in range(3):
        for child in family:
            child.terminate()
    time.sleep(0.5)
    assert [child.is_running() for child in family] == [True] * len(family)
    _, err = command.process.communicate(timeout=PATIENCE_S)
    assert command.process.returncode == 0, err
    assert tree(command.out) == tree(reference)
    assert inspect(command.out).is_whole
