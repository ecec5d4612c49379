"""Folders that others may write to: what lies there is refused by name, never followed, moved or written through."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from helpers.oracle import write_slide
from helpers.planted import PLANTS, PRECIOUS, interrupted, somebodys, unchanged
from helpers.runs import run, tree
from wsinuc import own_files
from wsinuc.errors import OutputError
from wsinuc.exports.atomic import replacing, replacing_text
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.training.state import append_log, trim_log
from wsinuc.own_files import usual_names
from wsinuc.store import ResultStore, owned
from wsinuc.store.files import read_json, remove, write_json
from wsinuc.store.manifest import with_manifest
from wsinuc.store.upload import digests
from wsinuc.workflows.cohort.state import SlideState, StateFolder
from wsinuc.workflows.synthesize.folder import writing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links and pipes")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "small.tiff", (200, 300), levels=1)


@pytest.fixture(scope="module")
def reference(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    run(slide, out)
    return out


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", PLANTS)
def test_what_somebody_has_laid_there_is_named_and_left(tmp_path: Path, name: str, overwrite: bool) -> None:
    home, result = somebodys(tmp_path), tmp_path / "shared" / "a.wsinuc"
    planted = PLANTS[name](result, home)
    before = os.lstat(planted).st_ino
    with pytest.raises(OutputError) as caught:
        whole_run(result, overwrite=overwrite)
    assert str(planted) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert unchanged(home)
    assert os.lstat(planted).st_ino == before
    assert not (home / "lock").exists()
    if planted.name != "lock":
        assert not os.path.lexists(result / ".run" / "lock")


def whole_run(result: Path, meanwhile: Callable[[], None] = lambda: None, *, overwrite: bool = False) -> None:
    store = ResultStore(result)
    with store.open_run({}, resume=True, overwrite=overwrite):
        store.start_outputs()
        meanwhile()
        store.publish({})


def test_an_area_of_another_user_is_refused(tmp_path: Path, monkeypatch) -> None:
    result = tmp_path / "a.wsinuc"
    work = interrupted(result)
    if os.geteuid() == 0:
        os.chown(work, 12345, -1)
    else:
        pytest.skip("only root can give files away")
    with pytest.raises(OutputError, match=r"\.run was made by another user \(12345\)"), begin(result):
        pass
    os.chown(work, 0, -1)
    os.chown(work / "done", 12345, -1)
    with pytest.raises(OutputError, match=r"done belongs to another user"), begin(result):
        pass


def begin(result: Path):
    return ResultStore(result).open_run({}, resume=True, overwrite=False)


def test_what_is_left_beside_a_complete_result_is_swept_only_if_it_is_ours(tmp_path: Path) -> None:
    result = tmp_path / "a.wsinuc"
    work = interrupted(result)
    write_json(with_manifest({}, {}), result / "summary.json")
    (work / "blocks" / "thesis.docx").write_text(PRECIOUS)
    with pytest.raises(OutputError, match="complete"), begin(result):
        pass
    assert (work / "blocks" / "thesis.docx").read_text() == PRECIOUS
    (work / "blocks" / "thesis.docx").unlink()
    with pytest.raises(OutputError, match="complete"), begin(result):
        pass
    assert not work.exists()


def test_others_cannot_write_to_a_working_area_whatever_the_umask(tmp_path: Path) -> None:
    result = tmp_path / "a.wsinuc"
    before = os.umask(0)
    try:
        with begin(result):
            modes = {name: stat.S_IMODE((result / ".run" / name).stat().st_mode) for name in (".", "blocks", "done")}
        (result / ".run" / "blocks").chmod(0o777)  # as another version may have made it
        (result / ".run").chmod(0o777)
        with begin(result):
            again = [stat.S_IMODE((result / ".run" / name).stat().st_mode) for name in (".", "blocks")]
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o755}
    assert again == [0o755, 0o755]


def test_an_area_that_is_exchanged_during_a_run_is_noticed(tmp_path: Path) -> None:
    home, result = somebodys(tmp_path), tmp_path / "a.wsinuc"

    def exchange() -> None:
        (result / ".run").rename(tmp_path / "away")
        (result / ".run").symlink_to(home)

    with pytest.raises(OutputError):
        whole_run(result, exchange)
    assert unchanged(home)
    with pytest.raises(OutputError, match="has been exchanged"):
        owned.check_same(result / ".run", (0, 0))


def test_what_servers_and_desktops_leave_is_no_reason_to_stop(tmp_path: Path, slide: Path, reference: Path) -> None:
    result = tmp_path / "a.wsinuc"
    work = interrupted(result)
    for name in (".nfs0000001", ".DS_Store", "._lock", "blocks/.nfs00002", "done/._000001.json", "done/1.json.partial"):
        (work / name).write_text("")
    run(slide, result, resume=False)
    assert tree(result) == tree(reference)


def test_a_result_below_a_link_is_an_ordinary_result(tmp_path: Path, slide: Path, reference: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "scratch")
    run(slide, tmp_path / "home" / "out")
    assert tree(tmp_path / "scratch" / "out") == tree(reference)
    (tmp_path / "away").mkdir()
    (tmp_path / "linked.wsinuc").symlink_to(tmp_path / "away")
    run(slide, tmp_path / "linked.wsinuc")
    assert tree(tmp_path / "away") == tree(reference)


def test_files_are_created_not_opened(tmp_path: Path) -> None:
    home = somebodys(tmp_path)
    for write in WRITERS.values():
        ours = [tmp_path / "a.json", tmp_path / "a.jsonl"]
        for path in (*ours, *usual_names(ours[0]), *usual_names(ours[1])):
            path.unlink(missing_ok=True)
            path.symlink_to(home / "precious")
        with suppress(OutputError):  # what is added to must be refused, what is replaced need not
            write(tmp_path / "a.json")
        assert unchanged(home)


def _replace(path: Path) -> None:
    with replacing(path) as stream:
        stream.write(b"ours")


def _replace_text(path: Path) -> None:
    with replacing_text(path) as stream:
        stream.write("ours")


def _checkpoint(path: Path) -> None:
    save_checkpoint(Checkpoint(kind="k", config={}, provenance={}, tensors={"a": torch.zeros(2)}), path)


def _trim(path: Path) -> None:
    log = path.with_suffix(".jsonl")
    log.unlink()
    log.write_text('{"step": 1}\n{"step": 2}\n')
    trim_log(log, 1)
    assert log.read_text() == '{"step": 1}\n'


WRITERS = {
    "json": lambda path: write_json({}, path),
    "atomic": _replace,
    "checkpoint": _checkpoint,
    "append": lambda path: append_log(path.with_suffix(".jsonl"), {}),
    "trim": _trim,
    "create": lambda path: own_files.create(path).close(),
    "text": _replace_text,
}


def test_a_folder_where_a_file_is_meant_is_named(tmp_path: Path) -> None:
    usual_names(tmp_path / "a.png")[0].mkdir()
    with pytest.raises(OutputError, match=r"a\.png\.[0-9a-f]{8}-0\.partial is a folder"), replacing(tmp_path / "a.png"):
        pass


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    home = somebodys(tmp_path)
    (tmp_path / "link").symlink_to(home)
    remove(tmp_path / "link")
    assert unchanged(home)
    assert not os.path.lexists(tmp_path / "link")


def test_nothing_that_a_link_points_to_is_uploaded(tmp_path: Path) -> None:
    home = somebodys(tmp_path)
    ready = tmp_path / "ready"
    ready.mkdir()
    (ready / "nuclei").write_text("ours")
    (ready / "secret").symlink_to(home / "precious")
    (ready / "secrets").symlink_to(home)
    assert set(digests(ready)) == {"nuclei"}


def test_the_states_of_a_cohort_are_never_written_through_links(tmp_path: Path) -> None:
    home = somebodys(tmp_path)
    state = SlideState(name="a", slide="a.svs")
    (tmp_path / ".wsinuc").symlink_to(home)
    with pytest.raises(OutputError, match=r"\.wsinuc is a symbolic link"):
        StateFolder(tmp_path).write(state)
    (tmp_path / ".wsinuc").unlink()
    (tmp_path / ".wsinuc").mkdir()
    (tmp_path / ".wsinuc" / "a.json").symlink_to(home / "precious")
    os.mkfifo(tmp_path / ".wsinuc" / "b.json")
    assert StateFolder(tmp_path).all() == {}
    StateFolder(tmp_path).write(state)
    assert StateFolder(tmp_path).all() == {"a": state}
    assert unchanged(home)


@pytest.mark.parametrize("name", [".synthesis", "images", "labels", "samples.csv", "synthesis.json", ".synthesis/lock"])
def test_a_synthesis_follows_no_links(tmp_path: Path, name: str) -> None:
    home, folder = somebodys(tmp_path), tmp_path / "set"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(home / "precious" if "." in name[1:] else home)
    with pytest.raises(OutputError) as caught, writing(folder, {"method": "nudiff"}, ()):
        pass
    assert name.split("/")[0] in str(caught.value)
    assert unchanged(home)


def test_reading_does_not_wait_at_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link", "nothing"):
        with pytest.raises(OSError):  # noqa: PT011
            own_files.read(tmp_path / name)
    assert read_json(tmp_path / "link") == {}
    (tmp_path / "file").write_text(PRECIOUS)
    assert own_files.read(tmp_path / "file") == PRECIOUS.encode()


def test_a_summary_in_the_making_is_a_file_of_ours_alone(tmp_path: Path) -> None:
    write_json({"a": 1}, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
