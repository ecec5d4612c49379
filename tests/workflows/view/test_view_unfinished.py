"""A result that ``wsinuc segment`` has not finished: the page says how far it is, and shows it when it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsinuc.store import ResultStore
from wsinuc.store.lock import locked
from wsinuc.workflows.view import server
from wsinuc.workflows.view.facts import slide_facts
from wsinuc.workflows.view.library import find_sources
from wsinuc_cli.commands import view as command


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """The folder of a run that has done two blocks."""
    result = tmp_path / "plane.wsinuc"
    (result / ".run/done").mkdir(parents=True)
    return result


def test_a_run_at_work_is_said_and_its_result_shown_when_it_is_there(unfinished: Path, reference: Path) -> None:
    library = find_sources(unfinished)
    (key,) = library.sources
    with locked(ResultStore(unfinished).work / "lock"):
        facts = slide_facts(library.open(key))
    assert facts["unfinished"]
    assert facts["nuclei"] == 0
    assert facts["problems"][0].startswith("wsinuc segment is at work on this slide: 0 blocks")
    assert "--slide" in facts["problems"][1]
    # Nobody is at it any more.
    assert "was interrupted" in library.open(key).all_problems()[0]
    shutil.rmtree(unfinished)
    shutil.copytree(reference, unfinished)
    facts = slide_facts(library.open(key))
    assert not facts["unfinished"]
    assert facts["nuclei"] > 100
    assert facts["problems"] == []


class StillServer:
    """A server that ends at once."""

    url = "http://127.0.0.1:8050/token/"
    port = 8050

    def run(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "has_browser", "words"),
    [({"SSH_CONNECTION": "a"}, True, "ssh -L 8050:localhost:8050"), ({}, False, "no browser here"), ({}, True, "")],
)
def test_the_command_says_how_to_reach_the_page(
    reference: Path, monkeypatch: pytest.MonkeyPatch, where: dict[str, str], has_browser: bool, words: str
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(server, "start_server", lambda *_, **__: StillServer())
    monkeypatch.setattr(command.webbrowser, "open", lambda url: opened.append(url) or has_browser)
    for name in ("SSH_CONNECTION", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    outcome = CliRunner().invoke(command.view, [str(reference)])
    assert outcome.exit_code == 0, outcome.output
    assert StillServer.url in outcome.output
    assert words in outcome.output
    # Over ssh it would open on the other computer.
    assert len(opened) == (0 if where else 1)
