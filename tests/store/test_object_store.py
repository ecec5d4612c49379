"""Results and slides on object storage, against an S3 server that this module starts."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from moto.server import ThreadedMotoServer

import wsinuc.segmenters
from helpers.damaged import flip_bit
from helpers.oracle import OracleSegmenter, write_slide
from helpers.runs import FILES, config, tree
from wsinuc import urls
from wsinuc.errors import ConfigError, OutputError, RemoteError, SlideError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.grid import Box
from wsinuc.nuclei import concatenate
from wsinuc.slides import open_slide
from wsinuc.slides.view import read_resilient
from wsinuc.store import ResultStore, iter_nuclei, upload
from wsinuc.store.manifest import inspect
from wsinuc.urls import Url
from wsinuc.workflows.cohort.run import segment_cohort
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.segment.events import BlockDone, Event, StageStarted
from wsinuc.workflows.segment.plan import fingerprint
from wsinuc.workflows.segment.run import plan_segment, segment_slide
from wsinuc_cli.main import main

SECRET = "wJalrXUtnFEMIsecretKEY"
BUCKET = "bucket"


class Server:
    """An S3 server in this process; what it holds survives a stop."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        self.endpoint = f"http://{self.host}:{self.port}"

    def stop(self) -> None:
        self._server.stop()

    def restart(self) -> None:
        self._server = ThreadedMotoServer(ip_address=self.host, port=self.port, verbose=False)
        self._server.start()

    def demand_credentials(self, *, after: str) -> None:
        kind = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.endpoint}/moto-api/reset-auth", after.encode(), kind, method="POST")).close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        server = Server()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def store(server: Server) -> fsspec.AbstractFileSystem:
    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "small.tiff", (250, 500), levels=2)


@pytest.fixture(scope="module")
def reference(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "small.wsinuc"
    segment_slide(slide, out, config(reader="tiff"), segmenter=OracleSegmenter())
    return out


@pytest.fixture
def out(server: Server, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name}/small.wsinuc"


def run(slide: Path | str, out: str, work: Path, on_event=None, **changes: object):
    settings = config(**{"reader": "tiff", "work": work, **changes})
    return segment_slide(slide, out, settings, segmenter=OracleSegmenter(), on_event=on_event)


def downloaded(store: fsspec.AbstractFileSystem, out: str, to: Path) -> Path:
    if store.exists(out):
        store.get(out, str(to), recursive=True)
    return to


def names(store: fsspec.AbstractFileSystem, out: str) -> list[str]:
    root = out.removeprefix("s3://")
    return sorted({path.removeprefix(root + "/").partition("/")[0] for path in store.find(root)})


def objects(store: fsspec.AbstractFileSystem, out: str) -> dict[str, str]:
    """When each object of a result was written, and its hash."""
    return {path: f"{info['LastModified']} {info['ETag']}" for path, info in store.find(out, detail=True).items()}


def at_stage(name: str, action) -> object:
    def on_event(event: Event) -> None:
        if isinstance(event, StageStarted) and event.name == name:
            action()

    return on_event


def test_the_result_is_the_same_file_by_file_and_is_read_where_it_lies(
    slide: Path, reference: Path, out: str, store, tmp_path: Path
) -> None:
    summary = run(slide, out, tmp_path / "work")
    assert names(store, out) == FILES
    assert tree(downloaded(store, out, tmp_path / "copy")) == tree(reference)
    assert summary.out == out
    assert json.loads(store.cat_file(f"{out}/summary.json"))["out"] == out
    assert not list((tmp_path / "work").iterdir())
    there, here = concatenate(list(iter_nuclei(out))), concatenate(list(iter_nuclei(reference)))
    np.testing.assert_array_equal(there.outlines, here.outlines)
    assert check_geojson(f"{out}/nuclei.geojson").count == len(here)
    assert inspect(Url(out)).is_whole
    with pytest.raises(OutputError, match="not a complete wsinuc result"):
        next(iter_nuclei(f"s3://{BUCKET}/nothing"))


def test_a_complete_result_is_refused_then_replaced(slide: Path, reference: Path, out: str, store, tmp_path) -> None:
    run(slide, out, tmp_path / "work", block=192)
    with pytest.raises(OutputError, match=r"already holds a complete result.*--overwrite"):
        run(slide, out, tmp_path / "work")
    store.pipe_file(f"{out}/notes.txt", b"mine")
    seen: list[list[str]] = []
    run(slide, out, tmp_path / "work", at_stage("upload", lambda: seen.append(names(store, out))), overwrite=True)
    assert "summary.json" not in seen[0]
    assert store.cat_file(f"{out}/notes.txt") == b"mine"
    store.rm_file(f"{out}/notes.txt")
    assert tree(downloaded(store, out, tmp_path / "copy")) == tree(reference)  # no part of the smaller blocks is left


def test_slides_that_are_complete_are_done_before(slide: Path, server: Server, store, tmp_path: Path) -> None:
    jobs = [SlideJob(slide=slide, name=name) for name in ("one", "two")]
    out, settings = Url(f"s3://{BUCKET}/cohort"), config(reader="tiff", work=tmp_path / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, *, device: OracleSegmenter())
        segment_cohort(jobs[:1], out, settings)
        first = objects(store, f"{out}/one.wsinuc")
        store.pipe_file(f"{out}/one.wsinuc/.run/incomplete", b"{}")  # as a run killed after its summary leaves it
        summary = segment_cohort(jobs, out, settings)
        assert (summary.out, summary.before, summary.failed) == (out, ("one",), ())
        assert objects(store, f"{out}/one.wsinuc") == first
        assert names(store, f"{out}/two.wsinuc") == FILES
        other = segment_cohort(jobs, out, replace(settings, block=192))
        assert [state.state for state in other.slides] == ["failed", "failed"]
        assert f"{out}/one.wsinuc holds a complete result made with other settings" in other.slides[0].error
        assert "block was 256, now 192" in other.slides[0].error
        assert not segment_cohort(jobs[:1], out, replace(settings, block=192, overwrite=True)).failed
        assert objects(store, f"{out}/one.wsinuc") != first
    assert not list((tmp_path / "work").iterdir())


def test_the_command_says_done_before(slide: Path, server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wsinuc.segmenters, "load_segmenter", lambda model, *, device: OracleSegmenter())
    (tmp_path / "slides.csv").write_text(f"slide,name\n{slide},one\n")

    def command(what: Path) -> Result:
        options = ["--work", str(tmp_path / "work"), "--tissue", "none", "-o", f"s3://{BUCKET}/command"]
        return CliRunner().invoke(main, ["segment", str(what), *options])

    assert command(tmp_path / "slides.csv").exit_code == 0
    again = command(tmp_path / "slides.csv")
    assert (again.exit_code, again.stdout) == (0, f"{slide}: done before\n")
    alone = shutil.copy(slide, tmp_path / "one.tiff")
    refused = command(Path(alone))
    assert refused.exit_code == 1
    assert "already holds a complete result: add --overwrite" in refused.stderr


def test_what_wsinuc_did_not_make_is_never_touched(slide: Path, out: str, store, tmp_path: Path) -> None:
    store.pipe_file(f"{out}/nuclei/data.csv", b"mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds no wsinuc result"):
            run(slide, out, tmp_path / "work", overwrite=overwrite)
    assert names(store, out) == ["nuclei"]


def test_a_server_that_goes_away_costs_nothing(
    slide: Path, reference: Path, out: str, server: Server, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    send = upload._send

    def until_it_goes(source, *args):
        if len(sent) == 4:
            server.stop()
        sent.append(source.name)
        send(source, *args)

    monkeypatch.setattr(upload, "STREAMS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(upload, "_send", until_it_goes)
        with pytest.raises(RemoteError, match=f"{out}.*cannot be reached"):
            run(slide, out, tmp_path / "work")
    server.restart()
    there = names(store, out)
    assert "summary.json" not in there
    assert ".run" in there
    events: list[Event] = []
    again: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(upload, "_send", lambda source, *args: (again.append(source.name), send(source, *args)))
        run(slide, out, tmp_path / "work", events.append)
    assert [event.name for event in events if isinstance(event, StageStarted)] == ["upload"]  # nothing is made again
    assert 0 < len(again) == len(tree(reference)) - 4
    assert names(store, out) == FILES
    assert tree(downloaded(store, out, tmp_path / "copy")) == tree(reference)


def test_outputs_damaged_before_the_upload_are_made_again(
    slide: Path, reference: Path, out: str, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(upload, "_send", fail)
        with pytest.raises(RemoteError, match="gone"):
            run(slide, out, tmp_path / "work")
    (preview,) = (tmp_path / "work").rglob("preview.png")
    flip_bit(preview)
    run(slide, out, tmp_path / "work")
    assert tree(downloaded(store, out, tmp_path / "copy")) == tree(reference)


def test_large_files_go_in_parts(server: Server, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PART", 5 * 2**20)
    data = np.random.default_rng(0).bytes(11 * 2**20)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_bytes(data)
    url = Url(f"s3://{BUCKET}/parts")
    upload.upload(tmp_path / "files", upload.digests(tmp_path / "files"), url, tmp_path / "notes")
    assert store.cat_file(f"{BUCKET}/parts/large") == data
    assert store.info(f"{BUCKET}/parts/large")["ETag"].endswith('-3"')


def test_of_two_runs_the_second_refuses(slide: Path, out: str, tmp_path: Path) -> None:
    refused: list[str] = []

    def second(event: Event) -> None:
        if isinstance(event, BlockDone) and not refused:
            for work in ("one", "two"):
                with pytest.raises(OutputError, match="is being written by") as caught:
                    run(slide, out, tmp_path / work, overwrite=work == "two")
                refused.append(str(caught.value))

    run(slide, out, tmp_path / "one", second)
    assert "--work" in refused[1]


def test_a_killed_run_goes_on_from_its_working_area_alone(slide: Path, out: str, store, tmp_path: Path) -> None:
    store.pipe_file(f"{out}/.run/lock", b'{"owner": "mine", "host": "elsewhere", "since": "then"}')
    with pytest.raises(OutputError, match=r"by a run on elsewhere since then.*\.run/lock"):
        run(slide, out, tmp_path / "work")
    work = ResultStore(out, tmp_path / "work").work
    work.mkdir(parents=True, exist_ok=True)
    (work / "owner").write_text("mine")
    run(slide, out, tmp_path / "work")
    assert names(store, out) == FILES


def test_a_run_killed_after_its_summary_is_cleared_up(slide: Path, out: str, store, tmp_path: Path) -> None:
    run(slide, out, tmp_path / "work")
    store.pipe_file(f"{out}/.run/lock", b'{"owner": "mine"}')
    store.pipe_file(f"{out}/.run/incomplete", b"{}")
    work = ResultStore(out, tmp_path / "work").work
    work.mkdir(parents=True)
    (work / "owner").write_text("mine")
    with pytest.raises(OutputError, match="complete result"):
        run(slide, out, tmp_path / "work")
    assert names(store, out) == FILES
    assert not work.exists()


def test_a_wrong_bucket_is_said_before_the_work(slide: Path, server: Server, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"s3://no-such-bucket/a\.wsinuc: there is no such bucket"):
        run(slide, "s3://no-such-bucket/a.wsinuc", tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_permission_is_said_before_the_work(slide: Path, out: str, server: Server, tmp_path: Path) -> None:
    server.demand_credentials(after="0")
    try:
        with pytest.raises(RemoteError, match=r"no permission.*credentials") as caught:
            run(slide, out, tmp_path)
    finally:
        server.demand_credentials(after="1000000")
    assert SECRET not in str(caught.value)


def without_report(result: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(result).items() if name != "report.html"}


def test_a_slide_is_read_from_the_store(slide: Path, reference: Path, server: Server, store, tmp_path: Path) -> None:
    store.put_file(str(slide), f"{BUCKET}/slides/small.tiff")
    url = f"s3://{BUCKET}/slides/small.tiff"
    with open_slide(url) as remote, open_slide(slide, reader="tiff") as local:
        assert (remote.reader, remote.mpp, remote.level_shapes) == ("tiff", local.mpp, local.level_shapes)
        np.testing.assert_array_equal(remote.read(Box(30, 40, 240, 490)), local.read(Box(30, 40, 240, 490)))
    assert fingerprint(Url(url)) == fingerprint(slide)
    segment_slide(url, tmp_path / "out", config(), segmenter=OracleSegmenter())
    # The report names the reader, which is another one for local files.
    assert without_report(tmp_path / "out") == without_report(reference)
    plans = [plan_segment(path, tmp_path / "x", config(reader="tiff"), OracleSegmenter()) for path in (url, slide)]
    assert plans[0].run_id == plans[1].run_id


def test_readers_of_local_files_say_so(server: Server, store) -> None:
    store.pipe_file(f"{BUCKET}/slides/a.mrxs", b"not a TIFF")
    store.pipe_file(f"{BUCKET}/slides/empty.tiff", b"")
    for reader in ("auto", "openslide", "image"):
        with pytest.raises(SlideError, match="needs a local file"):
            open_slide(f"s3://{BUCKET}/slides/a.mrxs", reader=reader)
    with pytest.raises(SlideError, match="is empty"):
        open_slide(f"s3://{BUCKET}/slides/empty.tiff")
    with pytest.raises(RemoteError, match=f"s3://{BUCKET}/slides/none.tiff: there is no such"):
        open_slide(f"s3://{BUCKET}/slides/none.tiff")


def test_a_store_that_fails_is_not_taken_for_damage(
    slide: Path, server: Server, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "BLOCK", 4096)
    monkeypatch.setattr(urls, "BLOCKS", 2)
    store.put_file(str(slide), f"{BUCKET}/slides/leaving.tiff")
    with open_slide(f"s3://{BUCKET}/slides/leaving.tiff") as remote:
        store.rm_file(f"{BUCKET}/slides/leaving.tiff")
        with pytest.raises(RemoteError, match=f"s3://{BUCKET}/slides/leaving.tiff"):
            read_resilient(remote.at(0.5), Box(0, 0, 250, 500))  # white pixels would be nuclei lost


def test_credentials_are_written_nowhere(
    slide: Path, server: Server, store, tmp_path: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="wsinuc")
    store.put_file(str(slide), f"{BUCKET}/slides/signed.tiff")
    signed = boto3.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": "slides/signed.tiff"}
    )
    query = signed.partition("?")[2]
    secrets = [SECRET, *(part.partition("=")[2] for part in query.split("&")), query]
    said: list[str] = []
    summary = segment_slide(
        signed, tmp_path / "out", config(), segmenter=OracleSegmenter(), on_event=lambda e: said.append(repr(e))
    )
    said += [repr(summary), repr(open_slide(signed)), repr(Url(signed)), str(Url(signed))]
    for bad in (signed.replace("signed.tiff", "gone.tiff"), signed.replace(str(server.port), "1")):
        with pytest.raises(RemoteError) as caught:
            open_slide(bad)
        said.append(str(caught.value))
    with pytest.raises(ConfigError) as password:
        Url(f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@{BUCKET}/a.svs")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    text = "\n".join([*said, str(password.value), caplog.text, *capfd.readouterr()])
    for secret in secrets:
        assert secret not in text
        assert not any(secret.encode() in data for data in written)
