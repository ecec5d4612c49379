"""The viewer's server: nothing without the token, nothing beside what was given, nothing written but labels."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsinuc.errors import ConfigError, OutputError
from wsinuc.workflows.view.cohort import cohort_page
from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.server import ViewServer, start_server

pytest.importorskip("bokeh")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view") / "results"
    shutil.copytree(reference, folder / "plane.wsinuc")
    (folder / f"{HOSTILE}.wsinuc".replace("/", "")).mkdir()
    (folder.parent / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ViewServer]:
    server = start_server(find_sources(folder))
    server.run_in_background()
    yield server
    server.stop()


def get(address: str, body: object = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def key_of(folder: Path) -> str:
    return next(key for key, source in find_sources(folder).sources.items() if source.name == "plane")


def test_it_listens_to_this_machine_alone(server: ViewServer) -> None:
    assert server.url.startswith(f"http://127.0.0.1:{server.port}/")
    assert len(server.url.split("/")[3]) >= 32


def test_nothing_is_served_without_the_token(server: ViewServer, folder: Path) -> None:
    base = f"http://127.0.0.1:{server.port}"
    key = key_of(folder)
    token = server.url.split("/")[3]
    paths = ["", "view", f"view?r={key}", "static/js/bokeh.min.js", "view/ws", f"facts/{key}", "favicon.ico"]
    for start in ("", "wrong/", token[:-1] + "/", token[1:] + "/"):
        for path in [*paths, f"tiles/slide/{key}/0/0/0"]:
            status, content = get(f"{base}/{start}{path}")
            assert status == 403, (start, path)
            assert b"token" in content
    assert get(f"{base}/label/{key}", {"ids": [1], "class": "Tumour"})[0] == 403


def test_with_the_token_pages_tiles_and_figures_come(server: ViewServer, folder: Path) -> None:
    key = key_of(folder)
    status, page = get(server.url)
    assert status == 200
    assert f"view?r={key}".encode() in page
    status, page = get(f"{server.url}view?r={key}")
    assert status == 200
    assert b"plane" in page
    assert get(f"{server.url}static/js/bokeh.min.js")[0] == 200
    assert get(f"{server.url}files/main.js")[0] == 200
    facts = json.loads(get(f"{server.url}facts/{key}")[1])
    assert facts["nuclei"] > 100
    assert facts["problems"] == []
    assert get(f"{server.url}tiles/slide/{key}/0/0/0")[1][:4] == b"\x89PNG"
    assert get(f"{server.url}tiles/nuclei/{key}/2/1/1?by=area_um2")[1][:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "path",
    [
        "files/../secret.txt",
        "files/..%2fsecret.txt",
        "files/%2e%2e/%2e%2e/secret.txt",
        "files/passwd.txt",
        "facts/..%2f..%2fsecret",
        "facts/../../secret.txt",
        "tiles/slide/%2e%2e/0/0/0",
        "static/../../../../../../etc/passwd",
        "static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "view/static/..%2f..%2f..%2f..%2fetc/passwd",
        "crop/0000000000000?id=1",
        "__class__/000000000000",
    ],
)
def test_no_address_leads_out_of_the_folder(server: ViewServer, path: str) -> None:
    import http.client

    # urllib would take the dots away before they are sent.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", f"/{server.url.split('/')[3]}/{path}")
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status in (400, 403, 404)
    assert b"secret\n" not in content
    assert b"root:" not in content
    assert b"Traceback" not in content


def test_what_cannot_be_is_one_sentence(server: ViewServer, folder: Path) -> None:
    key = key_of(folder)
    for path in (
        f"at/{key}?y=a&x=1",
        f"at/{key}?x=1",
        f"histogram/{key}?y0=0&x0=0&y1=1&x1=1&column=none",
        f"tiles/nuclei/{key}/0/0/0?p=much",
        f"legend/{key}?by=nothing",
        f"picture/{key}?y0=0&x0=0&down=1&w=99999&h=99999",
        f"picture/{key}?y0=0&x0=0&down=0&w=9&h=9",
        f"crop/{key}?id=99999999",
    ):
        status, content = get(server.url + path)
        assert 400 <= status < 500, (path, content)
        assert set(json.loads(content)) == {"error"}, path
    for body in ([], {}, {"ids": "x"}, {"ids": [{}]}, {"polygon": [[1, 2]]}, {"at": [1]}, {"ids": [1], "class": 7}):
        status, content = get(f"{server.url}label/{key}", body)
        assert 400 <= status < 500, (body, content)
        assert set(json.loads(content)) == {"error"}, body
    line = [[1, 1], [90, 90]]
    for edit, body in (
        ("add", {"line": [[1, 1]]}),
        ("add", {"line": line, "name": 7}),
        ("add", {"line": line, "name": "a\nb"}),
        ("add", {"line": [[1, 1], [1e999, 9]]}),
        ("add", {"line": "x"}),
        ("split", {}),
        ("split", {"line": [[1, 2, 3]]}),
        ("draw", {"line": [[5, 5]] * 20_001}),
        ("merge", {"ids": [7]}),
        ("delete", {"ids": ["../plane"]}),
        ("name", {"ids": [], "class": "Tumour"}),
        ("remove", {"id": {}}),
    ):
        status, content = get(f"{server.url}window-{edit}/{key}", body)
        assert 400 <= status < 500, (edit, body, content)
        assert set(json.loads(content)) == {"error"}, (edit, body)
    assert get(f"{server.url}window-edited/{key}", {})[0] == 404
    # Nothing was learned, so nothing is there to be written.
    assert b"press Learn first" in get(f"{server.url}apply/{key}", {"replace": True})[1]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("plane")) == ["plane.wsinuc"]


def test_training_windows_are_answered_with_what_the_page_draws(server: ViewServer, folder: Path) -> None:
    key = key_of(folder)
    name = HOSTILE.replace(":", "")
    answer = json.loads(get(f"{server.url}window-add/{key}", {"line": [[400, 300], [500, 420]], "name": name})[1])
    (window,) = answer["windows"]
    assert window["name"] == name
    assert window["rings"][0][0] in ([400, 300], [500, 300], [400, 420], [500, 420])
    assert window["nuclei"] == len(answer["outlines"]) > 5
    assert answer["command"].endswith("plane.regions.geojson -o mine.safetensors")
    assert json.loads(get(f"{server.url}windows/{key}")[1]) == {k: v for k, v in answer.items() if k != "new"}
    assert json.loads(get(f"{server.url}undo/{key}", {})[1])["changed"] == 1 + window["nuclei"]
    assert json.loads(get(f"{server.url}windows/{key}")[1])["windows"] == []
    (folder / "plane.regions.geojson").unlink()


def test_labels_are_all_that_is_written(server: ViewServer, folder: Path) -> None:
    key = key_of(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    answer = json.loads(get(f"{server.url}label/{key}", {"ids": [2, 3], "class": HOSTILE.replace(":", "")})[1])
    assert answer["changed"] == 2
    assert {each["name"]: each["labels"] for each in answer["labels"]}[HOSTILE] == 2
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert set(after) - set(before) == {folder / "plane.labels.geojson"}
    assert {path: after[path] for path in before} == before
    assert json.loads(get(f"{server.url}undo/{key}", {})[1])["changed"] == 2
    # A page that is only looked at cannot label.
    assert get(f"{server.url}label/{key}")[0] == 405


def test_names_are_escaped_on_every_page(server: ViewServer) -> None:
    page = get(server.url)[1].decode()
    assert HOSTILE not in page
    assert "&lt;img src=x" in page
    rows = [{"key": "k", "name": HOSTILE, "state": HOSTILE, "nuclei": 1, "tissue": None, "density": 2.0}]
    page = cohort_page([{**rows[0], "counts": {HOSTILE: 1, "b": 2}}])
    assert HOSTILE not in page


def test_a_damaged_result_is_a_page_that_says_so(reference: Path, tmp_path: Path) -> None:
    result = tmp_path / "</script><script>alert(1).wsinuc".replace("/", "")
    shutil.copytree(reference, result)
    (result / "summary.json").write_text("{")
    server = start_server(find_sources(result))
    server.run_in_background()
    try:
        key = next(iter(find_sources(result).sources))
        status, page = get(server.url)
        assert status == 200
        assert b"<script>alert" not in page
        problems = " ".join(json.loads(get(f"{server.url}facts/{key}")[1])["problems"])
        assert "summary.json" in problems
    finally:
        server.stop()


def test_what_is_no_result_is_one_line(tmp_path: Path, reference: Path) -> None:
    with pytest.raises(OutputError, match="no such file"):
        find_sources(tmp_path / "none")
    with pytest.raises(OutputError, match="no result"):
        find_sources(tmp_path)
    with pytest.raises(ConfigError, match="for one result"):
        find_sources(reference.parent, slide=tmp_path / "a.svs")


def test_a_port_that_is_taken_is_one_line(server: ViewServer, folder: Path) -> None:
    with pytest.raises(OutputError, match="choose another --port"):
        start_server(find_sources(folder), port=server.port)


def test_a_notebook_shows_the_same_in_a_frame(reference: Path) -> None:
    import wsinuc

    view = wsinuc.read(reference).view(height=500)
    try:
        assert f'src="{view.url}"' in view._repr_html_()
        assert get(view.url)[0] == 200
    finally:
        view.stop()


def test_it_answers_while_a_cell_runs(reference: Path) -> None:
    """A notebook's loop belongs to its cells: the server has a loop and a thread of its own."""
    import asyncio

    from wsinuc.workflows.view.notebook import view_in_notebook

    async def cell() -> int:
        view = view_in_notebook(reference)
        try:
            # Blocks the loop, as any cell does.
            return get(view.url)[0]
        finally:
            view.stop()

    assert asyncio.run(cell()) == 200


def test_without_bokeh_one_line_says_what_to_install(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bokeh.server", None)
    with pytest.raises(ConfigError, match=r"pip install 'wsinuc\[view\]'"):
        start_server(find_sources(reference))
