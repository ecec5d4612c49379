"""How far a folder's slides are, seen from outside, in every state that a run can leave them in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import Stop, config
from wsinuc.errors import OutputError
from wsinuc.store.lock import filesystem_now
from wsinuc.workflows.cohort.state import SlideState, StateFolder
from wsinuc.workflows.cohort.status import cohort_status, exit_code
from wsinuc.workflows.segment.events import BlockDone, Event
from wsinuc.workflows.segment.run import segment_slide
from wsinuc_cli.main import main


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one complete result, ``a``."""
    out = tmp_path_factory.mktemp("done")
    slide = write_slide(out.parent / "a.tiff", (200, 200), levels=1)
    segment_slide(slide, out / "a.wsinuc", config(block=128), segmenter=OracleSegmenter())
    return out


def interrupted(out: Path, name: str = "b") -> Path:
    """A result that was left after two of four blocks."""
    slide = write_slide(out.parent / f"{name}.tiff", (200, 200), levels=1)

    def stop(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 2:
            raise Stop

    with pytest.raises(Stop):
        segment_slide(
            slide, out / f"{name}.wsinuc", config(block=128, workers=1), segmenter=OracleSegmenter(), on_event=stop
        )
    return out / f"{name}.wsinuc"


def put(out: Path, name: str, state: str, **changes: object) -> None:
    StateFolder(out).write(SlideState(name=name, slide=f"{name}.svs", state=state, **changes))  # type: ignore[arg-type]


def hold(result: Path, *, host: str = "elsewhere", age_s: float = 0.0) -> None:
    """A lock as another machine leaves it."""
    path = result / ".run" / "lock"
    path.write_text(json.dumps({"pid": 7, "started": 1.0, "host": host, "token": "t", "heartbeat_s": 10.0}))
    stamp = filesystem_now(path.parent) - age_s
    os.utime(path, (stamp, stamp))


def states(*outs: Path) -> dict[str, str]:
    return {slide.name: slide.state for slide in cohort_status(outs)}


def test_a_complete_result(done: Path) -> None:
    (slide,) = cohort_status([done])
    assert (slide.name, slide.state, slide.blocks_done, slide.blocks) == ("a", "done", 4, 4)
    assert slide.nuclei == json.loads((done / "a.wsinuc" / "summary.json").read_text())["nuclei"] > 0
    assert cohort_status([done / "a.wsinuc"]) == (slide,)
    assert exit_code([slide]) == 0


def test_work_that_goes_on_elsewhere_stops_being_alive_with_its_heartbeat(tmp_path: Path) -> None:
    result = interrupted(tmp_path)
    put(tmp_path, "b", "running", blocks=4)
    assert states(tmp_path) == {"b": "interrupted"}
    hold(result, age_s=20)
    (slide,) = cohort_status([tmp_path])
    assert (slide.state, slide.holder) == ("running", "process 7 on elsewhere")
    assert slide.blocks_done >= 2
    assert slide.blocks == 4
    assert slide.nuclei > 0
    assert 19 < slide.age_s < 60
    assert exit_code([slide]) == 2
    hold(result, age_s=1000)
    assert states(tmp_path) == {"b": "interrupted"}


def test_looking_on_leaves_nothing_behind(tmp_path: Path) -> None:
    result = interrupted(tmp_path)
    hold(result)
    before = sorted(tmp_path.rglob("*"))
    cohort_status([tmp_path])
    assert sorted(tmp_path.rglob("*")) == before


def test_states_of_slides_without_results(tmp_path: Path) -> None:
    put(tmp_path, "bad", "failed", error="no such file", attempts=2)
    put(tmp_path, "gone", "done")
    put(tmp_path, "killed", "running")
    put(tmp_path, "next", "waiting")
    put(tmp_path, "not", "skipped")
    assert states(tmp_path) == {
        "bad": "failed",
        "gone": "failed",
        "killed": "interrupted",
        "next": "waiting",
        "not": "skipped",
    }
    found = {slide.name: slide for slide in cohort_status([tmp_path])}
    assert "result is gone" in found["gone"].error
    assert exit_code(found.values()) == 1


def test_damaged_states_and_other_folders_are_left_out(done: Path, tmp_path: Path) -> None:
    (tmp_path / ".wsinuc").mkdir()
    (tmp_path / ".wsinuc" / "x.json").write_text('{"state": ')
    (tmp_path / ".wsinuc" / "y.json").write_text('{"state": "asleep", "slide": "y.svs"}')
    (tmp_path / "notes.wsinuc").mkdir()
    with pytest.raises(OutputError, match="no results of wsinuc"):
        cohort_status([tmp_path])
    with pytest.raises(OutputError, match="no such folder"):
        cohort_status([tmp_path / "none"])
    (tmp_path / ".wsinuc" / "z.json").write_text('{"state": "waiting", "slide": "z.svs", "from_the_future": 1}')
    assert states(tmp_path, done) == {"z": "waiting", "a": "done"}


def test_the_command_prints_a_table_or_json_and_its_exit_code_tells(done: Path, tmp_path: Path) -> None:
    fine = CliRunner().invoke(main, ["status", str(done)])
    assert fine.exit_code == 0, fine.output
    assert fine.stdout.splitlines()[0].split() == ["slide", "state", "blocks", "nuclei", "last", "sign", "of", "life"]
    assert "4/4" in fine.stdout
    assert fine.stdout.splitlines()[-1] == "1 of 1 slides done"
    put(tmp_path, "killed", "running")
    unfinished = CliRunner().invoke(main, ["status", str(tmp_path), str(done)])
    assert unfinished.exit_code == 2
    assert "same wsinuc segment command" in unfinished.stdout
    put(tmp_path, "bad", "failed", error="no such file")
    failed = CliRunner().invoke(main, ["status", "--json", str(tmp_path)])
    assert failed.exit_code == 1
    assert [slide["state"] for slide in json.loads(failed.stdout)] == ["failed", "interrupted"]
    assert "bad: no such file" in CliRunner().invoke(main, ["status", str(tmp_path)]).stdout


def test_status_needs_no_network_library(done: Path) -> None:
    """It is asked often, also on login nodes: no PyTorch is loaded."""
    look = f"from wsinuc.workflows.cohort.status import cohort_status as s; s([{str(done)!r}])"
    code = f"import sys; {look}; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "False"


def test_a_url_is_no_folder() -> None:
    result = CliRunner().invoke(main, ["status", "s3://bucket/out"])
    assert result.exit_code == 2
    assert "status looks into folders" in " ".join(result.stderr.split())
