"""The manifest of a result: what it lists, who looks at it, and what is damage and what is not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

import wsinuc
from helpers.damaged import flip_bit, stop_before_publishing
from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import Stop, config, run, tree
from wsinuc.errors import DamageError, OutputError
from wsinuc.store import ResultStore, iter_nuclei
from wsinuc.store.ledger import sealed
from wsinuc.store.manifest import BROKEN, FOREIGN, PLAIN, SEALED, parse_summary
from wsinuc.urls import Url
from wsinuc.workflows.cohort.run import segment_cohort
from wsinuc.workflows.cohort.slide_list import list_slides
from wsinuc.workflows.cohort.status import cohort_status, exit_code
from wsinuc.workflows.segment.events import BlockDone, Event
from wsinuc_cli.main import main

PART = "nuclei/part-00001.parquet"
SHARD = "labels.ome.zarr/labels/nuclei/0/c/0/0"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "a.tiff", (250, 300), levels=1)


@pytest.fixture(scope="module")
def made(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "a.wsinuc"
    run(slide, out, block=128)
    return out


@pytest.fixture(scope="module")
def stopped(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stopped") / "a.wsinuc"
    stop_before_publishing(slide, out)
    return out


@pytest.fixture
def result(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a.wsinuc"))


def state(result: Path) -> str:
    (slide,) = cohort_status([result])
    return slide.state


def problems(result: Path) -> list[str]:
    return [str(finding) for finding in wsinuc.verify(result).findings]


def test_the_manifest_lists_every_file_with_size_and_hash(made: Path) -> None:
    listed = json.loads((made / "summary.json").read_text())["files"]
    files = [path for path in made.rglob("*") if path.is_file() and path.name != "summary.json"]
    assert listed == {
        path.relative_to(made).as_posix(): [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in files
    }
    assert {PART, SHARD, "preview.png", "report.html", "nuclei.geojson", "labels.ome.zarr/zarr.json"} <= listed.keys()


def test_a_whole_result_is_whole_for_everyone(made: Path) -> None:
    report = wsinuc.verify(made)
    assert (report.state, report.findings, report.extra) == ("whole", (), ())
    assert report.files == len([path for path in made.rglob("*") if path.is_file()]) - 1
    assert state(made) == "done"
    ids = np.concatenate([part.ids for part in iter_nuclei(made)])
    assert ids.tolist() == list(range(1, json.loads((made / "summary.json").read_text())["nuclei"] + 1))


@pytest.mark.parametrize(
    "name", [PART, SHARD, "preview.png", "report.html", "nuclei.geojson", "labels.ome.zarr/zarr.json"]
)
def test_a_flipped_byte_is_noticed_in_every_kind_of_file(result: Path, name: str) -> None:
    flip_bit(result / name, at=40)
    assert problems(result) == [f"{name} has another content than was written"]
    assert state(result) == "done"  # names and sizes alone


def test_readers_check_a_part_before_its_rows(result: Path) -> None:
    """A byte of a page header, which Parquet's own checksums do not cover, is as any other."""
    flip_bit(result / PART, at=8)
    parts = iter_nuclei(result)
    assert next(parts).ids[0] == 1
    with pytest.raises(DamageError, match=r"part-00001\.parquet is not the file that was written"):
        next(parts)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda folder: (folder / PART).unlink(), f"{PART} is missing"),
        (lambda folder: (folder / SHARD).write_bytes(b""), f"{SHARD} has 0 bytes"),
        (lambda folder: shutil.rmtree(folder / "labels.ome.zarr"), "labels.ome.zarr/"),
        (lambda folder: double(folder), "nuclei/part-00077.parquet is no file of this result"),
        (lambda folder: (folder / "nuclei" / "mine.parquet").write_bytes(b""), "nuclei/mine.parquet is no file"),
        (
            lambda folder: (folder / SHARD).with_name("9").write_bytes(b""),
            "labels.ome.zarr/labels/nuclei/0/c/0/9 is no",
        ),
        (
            lambda folder: (folder / "nuclei.geojson.zip").write_bytes(b""),
            "nuclei.geojson.zip is no file of this result",
        ),
        (lambda folder: (folder / "summary.json").write_bytes(b""), "summary.json is unreadable"),
        (lambda folder: (folder / "summary.json").write_bytes(b"[1"), "summary.json is unreadable"),
        (lambda folder: (folder / "summary.json").unlink(), "summary.json is missing"),
        (lambda folder: fifo(folder / PART), f"{PART} is missing"),
    ],
)
def test_what_names_and_sizes_show(result: Path, harm, problem: str) -> None:
    harm(result)
    assert any(text.startswith(problem) for text in problems(result))
    assert wsinuc.verify(result).state == "damaged"
    assert state(result) == "damaged"
    with pytest.raises(DamageError, match="wsinuc verify lists all that is wrong"):
        next(iter_nuclei(result))
    with pytest.raises(DamageError, match=r"add --overwrite to make it anew"):
        ResultStore(result).made()
    with pytest.raises(DamageError), ResultStore(result).open_run({}, resume=True, overwrite=False):
        pass


def double(folder: Path) -> None:
    shutil.copyfile(folder / PART, folder / "nuclei" / "part-00077.parquet")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_exchanged_parts_are_noticed_though_the_rows_are_all_there(result: Path) -> None:
    one, other = result / "nuclei" / "part-00000.parquet", result / PART
    one.rename(result / "x")
    other.rename(one)
    (result / "x").rename(other)
    with pytest.raises(DamageError):
        list(iter_nuclei(result))
    assert len(problems(result)) == 2


def test_a_part_of_another_result_is_noticed(result: Path, tmp_path: Path) -> None:
    run(write_slide(tmp_path / "b.tiff", (250, 300), levels=1, seed=1), tmp_path / "b.wsinuc", block=128)
    shutil.copyfile(tmp_path / "b.wsinuc" / PART, result / PART)
    with pytest.raises(DamageError, match=r"part-00001\.parquet"):
        list(iter_nuclei(result))


def test_what_users_put_beside_is_mentioned_and_no_damage(result: Path) -> None:
    (result / "notes.txt").write_text("mine")
    (result / "figures").mkdir()
    (result / "nuclei" / ".DS_Store").write_text("")
    (result / "nuclei" / "readme.txt").write_text("")
    report = wsinuc.verify(result)
    assert report.state == "whole"
    assert report.extra == ("figures", "notes.txt", "nuclei/.DS_Store", "nuclei/readme.txt")
    assert state(result) == "done"
    assert sum(1 for _ in iter_nuclei(result)) > 1


def test_every_change_of_a_value_in_the_summary_is_noticed(made: Path) -> None:
    content = json.loads((made / "summary.json").read_text())
    for key in content.keys() - {"seal"}:
        changed = {**content, key: "another"}
        assert parse_summary(json.dumps(changed).encode()).kind == BROKEN
        without = {name: value for name, value in content.items() if name != key}
        assert parse_summary(json.dumps(without).encode()).kind == BROKEN
    assert parse_summary(json.dumps(content).encode()).kind == SEALED


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"nuclei": 5}, FOREIGN),
        ({"files": 5}, FOREIGN),
        ({"made_by": "wsinuc", "nuclei": 5}, PLAIN),
        ({"made_by": "wsinuc", "files": {}}, BROKEN),
        (sealed({"made_by": "wsinuc", "files": {}}), SEALED),
        (sealed({"made_by": "another", "files": {}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": {"../secret": [1, "0" * 64]}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": {"nuclei/../../secret": [1, "0" * 64]}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": {"/etc/passwd": [1, "0" * 64]}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": {"nuclei/a": [1, "0"]}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": {"nuclei/a": ["1", "0" * 64]}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": {"nuclei/a": 1}}), BROKEN),
        (sealed({"made_by": "wsinuc", "files": [1]}), BROKEN),
    ],
)
def test_kinds_of_summaries(content: dict, kind: str) -> None:
    assert parse_summary(json.dumps(content).encode()).kind == kind


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"5"])
def test_no_summary_is_too_odd_to_be_damage(data: bytes) -> None:
    assert parse_summary(data).kind == BROKEN


@pytest.mark.parametrize("depth", [10, 300, 900, 3000, 100_000])
def test_a_summary_that_is_nested_deeply_is_damage(depth: int) -> None:
    data = b'{"made_by": "wsinuc", "seal": "0", "files": {}, "a": ' + b"[" * depth + b"]" * depth + b"}"
    assert parse_summary(data).kind == BROKEN


def test_a_summary_of_nothing_but_brackets_is_not_parsed() -> None:
    data = b'{"made_by": "wsinuc", "more": [' + b"[]," * 1_000_000 + b"0]}"
    assert parse_summary(data).kind == BROKEN
    assert parse_summary(data.replace(b"[],", b"")).kind == PLAIN


def test_a_summary_that_is_absurdly_large_is_not_read(result: Path) -> None:
    with (result / "summary.json").open("r+b") as file:
        file.truncate(300 * 2**20)
    assert problems(result)[0].startswith("summary.json is unreadable")


@pytest.fixture
def interrupted(slide: Path, tmp_path: Path) -> Path:
    def stop(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 4:
            raise Stop

    with pytest.raises(Stop):
        run(slide, tmp_path / "c.wsinuc", on_event=stop, block=128, workers=1)
    return tmp_path / "c.wsinuc"


@pytest.mark.parametrize("summary", [b"", b"{", b'{"made_by": "wsinuc", "files": {}, "seal": "0"}'])
def test_an_unreadable_summary_costs_an_unfinished_run_nothing(
    slide: Path, made: Path, interrupted: Path, summary: bytes
) -> None:
    (interrupted / "summary.json").write_bytes(summary)
    done, _ = ResultStore(interrupted).progress()
    assert done >= 4
    assert state(interrupted) == "interrupted"
    assert wsinuc.verify(interrupted).state == "unfinished"
    assert run(slide, interrupted, block=128).resumed_blocks == done
    assert tree(interrupted) == tree(made)
    assert wsinuc.verify(interrupted).state == "whole"


def test_a_finished_result_that_lost_files_is_continued_from_its_blocks(
    slide: Path, made: Path, stopped: Path, tmp_path
):
    """A crash between the summary and the end of clearing up, and then a part is lost: the blocks are still there."""
    out = Path(shutil.copytree(stopped, tmp_path / "a.wsinuc"))
    shutil.copytree(made, out, dirs_exist_ok=True)
    (out / PART).unlink()
    assert run(slide, out, block=128).resumed_blocks > 4
    assert tree(out) == tree(made)


def test_the_blocks_of_an_unfinished_result_are_verified(stopped: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(stopped, tmp_path / "a.wsinuc"))
    assert (wsinuc.verify(out).state, wsinuc.verify(out).findings) == ("unfinished", ())
    flip_bit(out / ".run" / "blocks" / "000001.parquet", at=-1)
    (finding,) = wsinuc.verify(out).findings
    assert finding.file == ".run/done/000001.json"
    flip_bit(out / ".run" / "done" / "000000.json", at=40)
    assert len(wsinuc.verify(out).findings) == 2


def test_status_believes_sealed_entries_alone(interrupted: Path) -> None:
    (before,) = cohort_status([interrupted])
    entry = interrupted / ".run" / "done" / "000001.json"
    shutil.copyfile(entry, entry.with_name("000050.json"))
    assert cohort_status([interrupted]) == (before,)
    content = json.loads(entry.read_text())
    for path in (entry, entry.with_name("000050.json")):
        path.write_text(json.dumps({**content, "nuclei": 10**6}))
    (after,) = cohort_status([interrupted])
    assert after.blocks_done == before.blocks_done - 1
    assert after.nuclei == before.nuclei - content["nuclei"]


def test_overwrite_makes_a_damaged_result_anew(slide: Path, made: Path, result: Path) -> None:
    (result / "summary.json").write_bytes(b"")
    (result / "notes.txt").write_text("mine")
    run(slide, result, block=128, overwrite=True)
    assert (result / "notes.txt").read_text() == "mine"
    assert {name: sha for name, sha in tree(result).items() if name != "notes.txt"} == tree(made)


def test_an_empty_summary_of_somebody_else_is_no_reason_to_touch_anything(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_bytes(b"")
    (tmp_path / "nuclei").mkdir()
    (tmp_path / "nuclei" / "atom.txt").write_text("physics")
    store = ResultStore(tmp_path)
    with pytest.raises(OutputError, match="no wsinuc result"), store.open_run({}, resume=True, overwrite=True):
        pass
    assert (tmp_path / "nuclei" / "atom.txt").exists()
    with pytest.raises(OutputError, match="no result of wsinuc"):
        wsinuc.verify(tmp_path)


def plain(result: Path) -> Path:
    """The result as a version without manifests wrote it."""
    content = json.loads((result / "summary.json").read_text())
    for key in ("files", "seal", "slide_stamp", "slide_sha256"):
        del content[key]
    (result / "summary.json").write_text(json.dumps(content))
    return result


def test_a_result_without_a_manifest_is_read_with_a_warning(made: Path, result: Path, caplog) -> None:
    ids = [part.ids.tolist() for part in iter_nuclei(made)]
    assert not caplog.records
    assert [part.ids.tolist() for part in iter_nuclei(plain(result))] == ids
    assert "wrote no checksums" in caplog.text
    assert wsinuc.verify(result).state == "unknown"
    assert state(result) == "done"
    assert CliRunner().invoke(main, ["verify", str(result)]).exit_code == 1


def test_a_cohort_takes_neither_damage_nor_old_results_for_done(slide: Path, result: Path, monkeypatch) -> None:
    monkeypatch.setattr("wsinuc.segmenters.load_segmenter", lambda *args, **kwargs: OracleSegmenter())

    def error() -> str | None:
        (found,) = segment_cohort(list_slides([slide]), result.parent, config(block=128), attempts=3).slides
        assert found.attempts == 0
        return found.error

    assert error() is None
    content = (result / "summary.json").read_text()
    assert "made by a version that wrote no checksums" in str(error() if plain(result) else None)
    (result / "summary.json").write_text(content)
    (result / PART).unlink()
    assert "damaged result" in str(error())
    assert exit_code(cohort_status([result])) == 1


def test_the_command_says_it_in_lines_and_by_its_exit_code(result: Path, interrupted: Path) -> None:
    done = result.rename(result.with_name("b.wsinuc"))
    fine = CliRunner().invoke(main, ["verify", str(done)])
    assert (fine.exit_code, len(fine.stdout.splitlines())) == (0, 1)
    assert f"{done}: whole (" in fine.stdout
    unfinished = CliRunner().invoke(main, ["verify", str(done.parent)])
    assert unfinished.exit_code == 2
    assert [line.partition(": ")[2].split()[0] for line in unfinished.stdout.splitlines()] == ["whole", "not"]
    flip_bit(done / PART, at=-1)
    (done / "notes.txt").write_text("")
    damaged = CliRunner().invoke(main, ["verify", str(done.parent)])
    assert damaged.exit_code == 1
    assert damaged.stdout.startswith(f"{done}: damaged (")
    assert damaged.stdout.splitlines()[1:3] == [
        f"  {PART} has another content than was written",
        "  besides, not part of the result: notes.txt",
    ]
    (done / SHARD).unlink()
    assert "damaged" in CliRunner().invoke(main, ["status", str(done.parent)]).stdout
    assert CliRunner().invoke(main, ["verify", str(done.parent / "none")]).exit_code == 1


@pytest.fixture
def remote(made: Path):
    fs = fsspec.filesystem("memory")
    fs.put(str(made), "/bucket/a.wsinuc", recursive=True)
    yield fs, Url("memory://bucket/a.wsinuc")
    fs.rm("/bucket", recursive=True)


def test_a_result_at_a_url_is_verified(made: Path, remote) -> None:
    fs, url = remote
    report = wsinuc.verify(url)
    assert report.state == "whole"
    assert [part.ids.tolist() for part in iter_nuclei(url)] == [part.ids.tolist() for part in iter_nuclei(made)]
    seen: list[tuple[int, int]] = []
    wsinuc.verify(url, on_bytes=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (report.size, report.size)
    content = fs.cat_file(f"/bucket/a.wsinuc/{PART}")
    fs.pipe_file(f"/bucket/a.wsinuc/{PART}", content[:-1] + b"\0")
    assert [finding.file for finding in wsinuc.verify(url).findings] == [PART]
    with pytest.raises(DamageError, match=r"part-00001\.parquet"):
        list(iter_nuclei(url))
    fs.rm(f"/bucket/a.wsinuc/{SHARD}")
    assert [finding.file for finding in wsinuc.verify(url).findings] == [SHARD, PART]
    with pytest.raises(OutputError, match="no result of wsinuc"):
        wsinuc.verify("memory://bucket/none.wsinuc")
