"""Speed of synthesis: runs of any generator become records, and records a table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "claims"))
import speed
import tables
from records import read_records

from helpers.files.datasets import write_set
from helpers.files.generators import write_cosyn
from wsinuc.models.diffusion.samplers import SamplerConfig


def test_samplers_are_read_from_words_and_one_is_restarted() -> None:
    chosen = list(speed.samplers(["dpm++:5,10", "ddim:20"], [0, 150]))
    assert chosen == [
        SamplerConfig("dpm++", 5, 0),
        SamplerConfig("dpm++", 10, 0),
        SamplerConfig("ddim", 20, 0),
        SamplerConfig("dpm++", 5, 150),
        SamplerConfig("dpm++", 10, 150),
    ]


def test_the_command_measures_each_sampler_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_cosyn(tmp_path / "c.safetensors", without=("points",))
    real = write_set(tmp_path / "real", classes=("round", "long"), images=2)
    monkeypatch.setattr(speed, "machine_speed", lambda: 1e9)
    out = tmp_path / "out"
    words = ["speed.py", out, "tiny", "--model", model, "--real", real, "--count", 2]
    words += ["--samplers", "dpm++:2", "--restarts", 0, "--tissue", "colon"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    speed.main()
    said = capsys.readouterr().out
    assert said.index("core-hours") < said.index("tiny-dpmpp-2-0.json"), "the cost comes first"
    (record,) = read_records(out)
    assert (record["sampler"], record["steps"], record["inputs"]["count"]) == ("dpm++", 2, 2)
    assert record["gflop_per_image"] > 0
    speed.main()
    assert ".json" not in capsys.readouterr().out, "what is done is not done again"


def test_the_table_has_a_line_for_each_run_and_the_figure_a_curve(tmp_path: Path) -> None:
    def run(steps: int, restart: int) -> dict[str, object]:
        return {
            "generator": "joint",
            "sampler": "dpm++",
            "steps": steps,
            "restart": restart,
            "cpu_s_per_image": steps / 4,
            "gflop_per_image": 1000.0 * steps,
            "kernel": 0.5 / steps,
            "floor": -0.001,
        }

    records = [run(10, 0), run(5, 150), run(5, 0)]
    assert tables.tables_of_speed(records)["speed"].splitlines()[2:] == [
        "| joint | dpm++ | 5 | 1.25 | 5,000 | 0.1000 | -0.0010 |",
        "| joint | dpm++ | 10 | 2.50 | 10,000 | 0.0500 | -0.0010 |",
        "| joint | dpm++, restarted from 150 | 5 | 1.25 | 5,000 | 0.1000 | -0.0010 |",
    ]
    tables.draw_all({"claim-a": [], "claim-d": [], "speed": records}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["speed.png"]
