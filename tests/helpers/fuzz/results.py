"""Results, working areas and checkpoints with one file damaged, for the fuzz script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from click.testing import CliRunner

from helpers.damaged import stop_before_publishing
from helpers.files.checkpoints import raw_parts, write_raw
from helpers.fuzz.judge import by_all
from helpers.fuzz.mutations import Rng, mutate, mutate_json
from helpers.fuzz.parsers import Made, Parser, at, copied, sealed_json
from helpers.oracle import write_slide
from helpers.runs import run


def command(*arguments: str) -> None:
    """Run a command in this process; what it calls unexpected is raised."""
    from wsinuc_cli.main import main

    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    unexpected = [line for line in result.output.splitlines() if "unexpected" in line]
    if unexpected:
        raise AssertionError(unexpected[0])


def _made(folder: Path, *, unfinished: bool = False) -> tuple[Path, Path]:
    """A slide of known nuclei and its result."""
    slide = write_slide(folder / "slide.tiff", (250, 300), levels=1)
    result = folder / "seed.wsinuc"
    if unfinished:
        stop_before_publishing(slide, result)
    else:
        run(slide, result, block=128)
    return slide, result


def _read_all(result: Path) -> None:
    from wsinuc.exports.qupath.geojson import write_geojson
    from wsinuc.store import iter_nuclei
    from wsinuc.workflows.cohort.status import cohort_status
    from wsinuc.workflows.verify.run import verify

    def export() -> None:
        write_geojson(iter_nuclei(result), result.parent / "export.geojson", run_id="run")

    by_all(lambda: verify(result), lambda: cohort_status([result]), export)
    command("status", str(result))
    command("verify", str(result))


def summary(folder: Path) -> Parser:
    """The summary of a finished result, and a run that looks whether it is done."""
    from wsinuc.errors import WsinucError

    slide, result = _made(folder)
    path = result / "summary.json"
    good = path.read_bytes()

    def read(given: Path) -> None:
        _read_all(result)
        with suppress(WsinucError):
            run(slide, result, block=128)

    return Parser(seeds=[good], read=at(path, read), damage=sealed_json())


def nuclei_table(folder: Path) -> Parser:
    """A part of the table of nuclei."""
    from wsinuc.nuclei import read_nuclei

    _, result = _made(folder)
    seeds = [path.read_bytes() for path in sorted((result / "nuclei").glob("*.parquet"))]
    return Parser(seeds=seeds, read=at(folder / "part.parquet", read_nuclei))


def table_header(folder: Path) -> Parser:
    """A table of nuclei whose header of ours is odd, with a seal that fits."""
    import io

    import pyarrow.parquet as pq

    from wsinuc.nuclei import read_nuclei
    from wsinuc.nuclei.columns import KEY, sealed

    _, result = _made(folder)
    table = pq.read_table(next((result / "nuclei").glob("*.parquet")))
    good = table.schema.metadata[KEY]

    def damage(rng: Rng, seeds: Sequence[bytes]) -> bytes:
        header = mutate_json(rng, json.loads(good))
        text = json.dumps(sealed(header) if isinstance(header, dict) else header).encode()
        if rng.random() < 0.2:
            text = mutate(rng, [good])
        stream = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({KEY: text}), stream)
        return stream.getvalue()

    return Parser(seeds=[good], read=at(folder / "part.parquet", read_nuclei), damage=damage)


def working_area(name: str) -> Made:
    """One file of an unfinished result."""

    def make(folder: Path) -> Parser:
        from wsinuc.errors import WsinucError
        from wsinuc.store import ResultStore
        from wsinuc.store.calibration import read_calibration
        from wsinuc.store.ledger import read_sealed, settings_hash

        _, source = _made(folder, unfinished=True)
        settings = read_sealed(source / ".run" / "settings.json")
        path = folder / "a.wsinuc" / ".run" / name
        good = (source / ".run" / name).read_bytes() if name != "lock" else b'{"host": "a", "pid": 1, "token": "x"}'
        run_id = "" if name == "settings.json" else settings_hash(settings)

        def read(data: bytes) -> None:
            out = copied(source, folder / "a.wsinuc")
            path.write_bytes(data)
            command("status", str(out))
            command("verify", str(out))
            store = ResultStore(out)
            with store.open_run(settings, resume=True, overwrite=False):
                for block, entry in store.finished().items():
                    with suppress(WsinucError):
                        store.read(block) if entry.nuclei else None
                read_calibration(store.work / "calibration")

        damage = sealed_json(run_id) if name.endswith(".json") else mutate
        return Parser(seeds=[good], read=read, damage=damage)

    return make


def cohort_state(folder: Path) -> Parser:
    """What is known of one slide of a cohort."""
    from dataclasses import asdict

    from wsinuc.workflows.cohort.records import CohortRecords
    from wsinuc.workflows.cohort.state import SlideState, StateFolder

    out = folder / "out"
    states = [
        SlideState(
            name="a", slide="a.svs", state="failed", attempts=2, error="why", blocks=4, versions={"wsinuc": "1"}
        ),
        SlideState(
            name="a", slide="a.svs", state="done", figures={"nuclei": 7, "notes": ["x"], "seconds": {"all": 1.0}}
        ),
    ]
    StateFolder(out).write(states[0])

    def damage(rng: Rng, seeds: Sequence[bytes]) -> bytes:
        if rng.random() < 0.3:
            return mutate(rng, seeds)
        return json.dumps(mutate_json(rng, json.loads(seeds[rng.integers(len(seeds))]))).encode()

    def read(path: Path) -> None:
        command("status", str(out))
        records = CohortRecords(out, keep=True)
        records.begin([])
        records.finish([])

    path = next((out / ".wsinuc").glob("*.json"))
    return Parser(seeds=[json.dumps(asdict(state)).encode() for state in states], read=at(path, read), damage=damage)


def checkpoint(folder: Path) -> Parser:
    """A small segmenter: bytes of its file, the header of safetensors, and the header that is ours."""
    from helpers.odd.checkpoints import write_segmenter
    from wsinuc.segmenters import load_segmenter

    good = write_segmenter(folder / "seed.safetensors").read_bytes()
    header, weights = raw_parts(folder / "seed.safetensors")
    own = json.loads(header["__metadata__"]["wsinuc"])

    def damage(rng: Rng, seeds: Sequence[bytes]) -> bytes:
        choice = rng.random()
        if choice < 0.3:
            return mutate(rng, seeds)
        changed = json.loads(json.dumps(header))
        if choice < 0.75:
            changed["__metadata__"]["wsinuc"] = json.dumps(mutate_json(rng, own))
        elif choice < 0.85:
            text = mutate(rng, [json.dumps(own).encode()])
            changed["__metadata__"]["wsinuc"] = text.decode("utf-8", "replace")
        else:
            changed = mutate_json(rng, changed)
        return write_raw(folder / "raw", json.dumps(changed), weights).read_bytes()

    read = at(folder / "a.safetensors", lambda path: load_segmenter(str(path), device="cpu"))
    return Parser(seeds=[good], read=read, damage=damage)


def generator(folder: Path) -> Parser:
    """The three generators and the denoiser, by their headers."""
    from helpers.files.generators import write_cosyn, write_nudiff
    from wsinuc.models.checkpoints.checkpoint import load_checkpoint
    from wsinuc.models.checkpoints.cosyn import load_cosyn
    from wsinuc.models.checkpoints.generators import load_image_model, load_structure_model

    structure, image = write_nudiff(folder)
    files = {path: raw_parts(path) for path in (structure, image, write_cosyn(folder / "cosyn.safetensors"))}
    loads = {"nudiff-structure": load_structure_model, "nudiff-image": load_image_model, "cosyn": load_cosyn}

    def damage(rng: Rng, seeds: Sequence[bytes]) -> bytes:
        header, weights = list(files.values())[rng.integers(len(files))]
        own = mutate_json(rng, json.loads(header["__metadata__"]["wsinuc"]))
        changed = {**header, "__metadata__": {"wsinuc": json.dumps(own)}}
        return write_raw(folder / "raw", json.dumps(changed), weights).read_bytes()

    def read(path: Path) -> None:
        kind = load_checkpoint(path, *loads).kind
        loads[kind](path)

    return Parser(seeds=[structure.read_bytes()], read=at(folder / "a.safetensors", read), damage=damage)
