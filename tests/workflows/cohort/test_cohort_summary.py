"""The tables over all slides: complete, harmless to spreadsheets, in an order that does not depend on the run."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from wsinuc.errors import OutputError
from wsinuc.workflows.cohort.state import SlideState, StateFolder
from wsinuc.workflows.cohort.summary import check_ours, to_csv, to_html, to_markdown, write_summaries


def done(name: str, **figures: object) -> SlideState:
    values = {
        "nuclei": 1234567,
        "counts": {"tumour": 1000000, "other": 234567},
        "tissue_mm2": 150.0 / 7,
        "nuclei_per_mm2": 57613.126,
        "seconds": {"blocks": 90.0, "total": 100.5},
        "seconds_per_mm2": 4.69,
        "notes": ["2 undecodable regions were taken for white", "a | b"],
    }
    return SlideState(name=name, slide=f"/slides/{name}.svs", state="done", attempts=1, figures={**values, **figures})


FAILED = SlideState(name="bad", slide="bad.svs", state="failed", attempts=2, error="bad.svs: no such file")
STATES = (done("a"), FAILED, done("c", counts={"stroma": 3}, seconds_per_mm2=None), SlideState(name="d", slide="d.svs"))


def test_the_csv_has_a_line_per_slide_and_a_column_per_class() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(STATES))))
    assert [row["state"] for row in rows] == ["done", "failed", "done", "waiting"]
    assert rows[0]["nuclei"] == "1234567"
    assert float(rows[0]["tissue_mm2"]) == pytest.approx(21.4286)
    assert [rows[0][f"nuclei: {name}"] for name in ("tumour", "other", "stroma")] == ["1000000", "234567", ""]
    assert (rows[0]["seconds"], rows[2]["seconds_per_mm2"]) == ("100.5", "")
    assert (rows[1]["attempts"], rows[1]["error"]) == ("2", "bad.svs: no such file")
    assert rows[0]["notes"] == "2 undecodable regions were taken for white; a | b"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)"])
def test_a_spreadsheet_takes_no_text_for_a_formula(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([SlideState(name="x", slide=text)])))
    assert row["slide"] == f"'{text}"


def test_the_page_sums_up_and_lists_errors() -> None:
    page = to_markdown(STATES)
    assert "4 slides: 1 waiting, 2 done, 1 failed." in page
    assert "2,469,134 nuclei on 42.86 mm2 of tissue." in page
    assert "a \\| b" in page
    assert "- bad (bad.svs): bad.svs: no such file" in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_page_without_results_has_no_table() -> None:
    assert "|" not in to_markdown([FAILED])


def test_files_are_written_whole_and_known_again(tmp_path: Path) -> None:
    check_ours(tmp_path)
    write_summaries(STATES, tmp_path)
    check_ours(tmp_path)
    write_summaries(STATES[:1], tmp_path)
    assert (tmp_path / "summary.csv").read_text() == to_csv(STATES[:1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "summary.csv", "summary.md"]
    (tmp_path / "summary.md").write_text("# My notes\n")
    with pytest.raises(OutputError, match=r"summary\.md was not made by wsinuc"):
        check_ours(tmp_path)


def test_states_survive_the_disk_in_the_order_of_their_names(tmp_path: Path) -> None:
    files = StateFolder(tmp_path)
    for state in reversed(STATES):
        files.write(state)
    assert tuple(files.all().values()) == STATES
    assert files.read("none") is None


def test_states_that_cannot_be_written_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        StateFolder(tmp_path / "out" / "deeper").write(FAILED)


HOSTILE = '<img src=x onerror=alert(1)>"{{ 1 }}'


def links(page: str) -> list[str]:
    return re.findall(r'<a href="([^"]*)"', page)


def test_the_html_page_compares_slides_and_links_to_them(tmp_path: Path) -> None:
    (tmp_path / "a.wsinuc").mkdir()
    (tmp_path / "a.wsinuc" / "report.html").write_text("")
    page = to_html(STATES, tmp_path)
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "2,469,134 nuclei on 42.9 mm²" in text
    assert "1 failed" in text
    assert "1,234,567 21.4 mm²" in text
    assert "57,613" in text
    assert links(page) == ["./a.wsinuc/report.html", "./c.wsinuc/"]
    assert "bad.svs: no such file" in text
    assert page.count("<circle") == 2 * 4  # all nuclei, and three classes


def test_names_cannot_change_the_page_or_lead_elsewhere(tmp_path: Path) -> None:
    names = (HOSTILE, "javascript:alert(1)", "a#b?c", "../up", "sl\udcffide")
    states = [done(name, counts={HOSTILE: 1, "b": 2}, notes=[HOSTILE]) for name in names]
    failed = [SlideState(name=HOSTILE, slide=HOSTILE, state="failed", error=HOSTILE)]
    page = to_html([*states, *failed], tmp_path)
    page.encode()
    assert "<img" not in page
    assert "<script" not in page
    assert all(link.startswith("./") and link.endswith(".wsinuc/") for link in links(page))
    assert "./javascript%3Aalert%281%29.wsinuc/" in links(page)
    assert "./a%23b%3Fc.wsinuc/" in links(page)
    assert "./..%2Fup.wsinuc/" in links(page)
    assert "./sl%FFide.wsinuc/" in links(page)


def test_a_page_of_thousands_of_slides_stays_below_4_mb(tmp_path: Path) -> None:
    counts = {f"class {i}": i for i in range(12)}
    page = to_html([done(f"slide {i:05}", counts=counts) for i in range(4000)], tmp_path)
    assert len(page.encode()) < 4_000_000
    assert "3,000 more slides are in" in page
    assert "5 other classes" in page


@pytest.mark.parametrize("states", [(), (FAILED,), (done("a", nuclei=0, counts={}, tissue_mm2=0.0),)])
def test_a_cohort_without_nuclei_has_a_page(tmp_path: Path, states: tuple[SlideState, ...]) -> None:
    assert "</html>" in to_html(states, tmp_path)


def test_the_page_can_be_left_out(tmp_path: Path) -> None:
    write_summaries(STATES, tmp_path, report=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summary.csv", "summary.md"]
    (tmp_path / "report.html").write_text("mine")
    check_ours(tmp_path, report=False)
    with pytest.raises(OutputError, match=r"report\.html was not made by wsinuc"):
        check_ours(tmp_path)
    (tmp_path / "report.html").write_text(to_html(STATES, tmp_path))
    check_ours(tmp_path)
