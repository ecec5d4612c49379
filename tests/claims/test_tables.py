"""Tables of the claims' pages say what the kept records say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "claims"))
import tables
from records import read_records

ROOT = Path(__file__).parents[2]

EXPERIMENTS = ROOT / "docs" / "experiments"


@pytest.mark.parametrize("name", tables.PAGES)
def test_the_page_shows_what_the_records_say(name: str) -> None:
    page = (EXPERIMENTS / f"{name}.md").read_text(encoding="utf-8")
    assert "<!-- table " in page, "a page of a claim asks for its tables"
    expected = tables.filled(page, tables.PAGES[name](read_records(EXPERIMENTS / "data" / name)))
    assert page == expected, "run python examples/claims/tables.py docs/experiments"


def run(row: str, steps: int, count: int, seed: int, iou: float) -> dict[str, object]:
    return {"data": "tnbc", "row": row, "pretraining_steps": steps, "count": count, "seed": seed, "mean_iou": iou}


def test_rows_are_compared_after_pre_training_of_one_length() -> None:
    records = [
        run("tissue", 2000, 4, 0, 0.5),
        run("tissue", 2000, 4, 1, 0.6),
        run("tissue", 5000, 4, 0, 0.9),
        run("masked", 2000, 4, 0, 0.4),
        run("unet", 0, 1, 0, 0.3),
    ]
    assert tables.windows_table(tables.rows_of_a(records, "tnbc")).splitlines() == [
        "|  | 1 window | 4 windows |",
        "|---|---|---|",
        "| U-Net | 0.300 (1) |  |",
        "| masked image modelling, 2000 steps |  | 0.400 (1) |",
        "| A, 2000 steps |  | 0.550 ± 0.071 (2) |",
    ]
    assert "| 5000 steps | 0.900 (1) |" in tables.windows_table(tables.steps_of_a(records, "tnbc"))


def test_the_starts_of_method_d_stand_below_each_other() -> None:
    scores = {"mean_iou": 0.5, "f1": 0.6, "sensitivity": 0.7, "precision": 0.8}
    records = [
        {"data": "tnbc", "width": 32, "pretraining_steps": steps, "count": count, "seed": seed, **scores}
        | {"hausdorff_um": distance}
        for count, steps, seed, distance in (
            (16, 0, 0, 4.0),
            (4, 5000, 0, 5.0),
            (4, 5000, 1, None),  # no square had nuclei in both
            (4, 0, 0, 9.0),
        )
    ]
    found = tables.tables_of_d(records)
    assert found["tnbc"].splitlines()[2:] == [
        "| 32 | 4 | random weights | 0.500 (1) | 0.600 (1) | 0.700 (1) | 0.800 (1) | 9.000 (1) |",
        "| 32 | 4 | 5,000 steps | 0.500 ± 0.000 (2) | 0.600 ± 0.000 (2) | 0.700 ± 0.000 (2) | 0.800 ± 0.000 (2) "
        "| 5.000 (1) |",
        "| 32 | 16 | random weights | 0.500 (1) | 0.600 (1) | 0.700 (1) | 0.800 (1) | 4.000 (1) |",
    ]
    assert found["nuinsseg"] == "No run yet.\n"


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = "before\n<!-- table a -->\nold\n<!-- end -->\nafter\n"
    assert tables.filled(page, {"a": "new\n"}) == "before\n<!-- table a -->\n\nnew\n\n<!-- end -->\nafter\n"


def test_a_figure_is_drawn_of_what_is_there(tmp_path: Path) -> None:
    records = [run("tissue", 2000, n, 0, 0.5) for n in (1, 4)]
    tables.draw_all({"claim-a": records, "claim-d": []}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["claim_a.png"]
