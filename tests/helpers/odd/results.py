"""Odd results, working areas that others have written to, and checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from helpers.damaged import stop_before_publishing
from helpers.files.checkpoints import ODD, changed, own_header, raw_parts, with_header, write_raw
from helpers.files.tiff_dialects import write
from helpers.odd.annotations import file
from helpers.odd.checkpoints import write_segmenter
from helpers.odd.doors import Given, Gives, Refused, with_options
from helpers.odd.inputs import Row
from helpers.odd.no_files import make_no_file
from helpers.odd.slides import nuclei
from helpers.planted import PLANTS, somebodys
from helpers.runs import run
from wsinuc.errors import CheckpointError, DamageError, DataError, OutputError
from wsinuc.store.ledger import SEAL, sealed

PART = "nuclei/part-00000.parquet"
Change = Callable[[Path], object]


def rows() -> Iterator[Row]:
    """All of them."""
    yield from _finished()
    yield from _unfinished()
    yield from _tables()
    yield from _planted()
    yield from _checkpoints()
    yield from _headers()


@cache
def _shelf() -> tempfile.TemporaryDirectory:
    """A folder with a slide of nine nuclei and its result, and a run of it that was stopped; kept until the end."""
    shelf = tempfile.TemporaryDirectory()
    folder = Path(shelf.name)
    write(folder / "a.tif", nuclei(), tile=(64, 64))
    run(folder / "a.tif", folder / "finished", block=512)
    stop_before_publishing(folder / "a.tif", folder / "stopped")
    write_segmenter(folder / "model.safetensors")
    return shelf


def _copy(name: str, folder: Path, change: Change) -> Path:
    result = folder / "a.wsinuc"
    shutil.copytree(Path(_shelf().name) / name, result)
    change(result)
    return result


def _flip(name: str, at: int = -9) -> Change:
    def change(result: Path) -> None:
        data = bytearray((result / name).read_bytes())
        data[at] ^= 1
        (result / name).write_bytes(data)

    return change


def _facts(**facts: Any) -> Change:
    """Changes the summary and seals it again, as somebody who means it can."""

    def change(result: Path) -> None:
        content = json.loads((result / "summary.json").read_text())
        content.pop(SEAL)
        (result / "summary.json").write_text(json.dumps(sealed({**content, **facts})))

    return change


def _put(name: str, content: bytes = b"x") -> Change:
    return lambda result: (result / name).write_bytes(content)


def _cut(name: str, length: int) -> Change:
    return lambda result: os.truncate(result / name, length)


def _finished() -> Iterator[Row]:
    other = f"{PART} has another content than was written"
    kinds: dict[str, tuple[Change, Gives | Refused]] = {
        "whole": (lambda result: None, Gives("whole")),
        "a flipped bit in the table": (_flip(PART), Gives("damaged", other)),
        "a flipped bit in the preview": (_flip("preview.png"), Gives("damaged", "preview.png has another content")),
        "the table is missing": (lambda result: (result / PART).unlink(), Gives("damaged", f"{PART} is missing")),
        "the table is a folder": (_table_as_folder, Gives("damaged", f"{PART} is missing")),
        "the table is cut off": (_cut(PART, 100), Gives("damaged", "has 100 bytes")),
        "a file of a user beside": (_put("notes.txt"), Gives("whole")),
        "a table of another result": (_put("nuclei/part-00007.parquet"), Gives("damaged", "is no file of this result")),
        "the summary is missing": (lambda result: (result / "summary.json").unlink(), Gives("damaged", "is missing")),
        "the summary is empty": (_put("summary.json", b""), Gives("damaged", "is unreadable")),
        "the summary is cut off": (_cut("summary.json", 300), Gives("damaged", "is unreadable")),
        "the summary was edited": (_flip("summary.json", 60), Gives("damaged", "is unreadable")),
        "the summary is brackets": (_put("summary.json", b"[" * 10**5), Gives("damaged", "is unreadable")),
        "the summary counts in words": (_facts(nuclei="nine"), Gives("damaged", "is unreadable")),
        "the manifest names files elsewhere": (
            _facts(files={"../../etc/passwd": [1, "0" * 64]}),
            Gives("damaged", "unreadable"),
        ),
        "a folder of other things": (_emptied, Refused(OutputError, "holds no result of wsinuc")),
    }
    for name, (change, expected) in kinds.items():
        make = partial(_copy, "finished", change=change)
        yield Row(name=f"result: {name}", door="verify", make=make, expected=expected)
    words = partial(_copy, "finished", change=_facts(blocks=[1], nuclei={"a": 1}))
    yield Row(name="status of a summary of nonsense", door="status", make=words, expected=Gives(("damaged",)))
    whole = partial(_copy, "finished", change=lambda result: None)
    yield Row(name="status of a whole result", door="status", make=whole, expected=Gives(("done",)))
    command = partial(with_options, whole, {"command": ["verify"]})
    yield Row(name="verify a whole result", door="command line", make=command, expected=Gives(0, "whole"))


def _table_as_folder(result: Path) -> None:
    (result / PART).unlink()
    (result / PART).mkdir()


def _emptied(result: Path) -> None:
    shutil.rmtree(result)
    result.mkdir()
    (result / "thesis.docx").write_text("precious")


def _unfinished() -> Iterator[Row]:
    kinds: dict[str, tuple[Change, Gives | Refused]] = {
        "as it was stopped": (lambda result: None, Gives("unfinished")),
        "a block's entry was changed": (_flip(".run/done/000000.json"), Gives("unfinished", "made anew")),
        "a block's table was changed": (_flip(".run/blocks/000000.parquet"), Gives("unfinished", "made anew")),
        "its settings are empty": (_put(".run/settings.json", b""), Gives("unfinished", "made anew")),
    }
    for name, (change, expected) in kinds.items():
        make = partial(_copy, "stopped", change=change)
        yield Row(name=f"stopped run: {name}", door="verify", make=make, expected=expected)


def _tables() -> Iterator[Row]:
    kinds: dict[str, tuple[Change, Gives | Refused]] = {
        "whole": (lambda result: None, Gives(9)),
        "a flipped bit": (_flip(PART), Refused(DamageError, "is not the file that was written")),
        "a part is missing": (lambda result: (result / PART).unlink(), Refused(DamageError, PART)),
        "of another result": (_put("nuclei/part-00007.parquet"), Refused(DamageError, "part-00007.parquet")),
    }
    for name, (change, expected) in kinds.items():
        make = partial(_copy, "finished", change=change)
        yield Row(name=f"table: {name}", door="table of nuclei", make=make, expected=expected)
    stopped = partial(_copy, "stopped", change=lambda result: None)
    yield Row(
        name="table: not finished",
        door="table of nuclei",
        make=stopped,
        expected=Refused(OutputError, "not a complete"),
    )
    for name, content in {"text": b"no table", "empty": b"", "zeros": bytes(999)}.items():
        make = partial(file, "a.parquet", content)
        expected = Refused(DataError, "expected a Parquet file of nuclei")
        yield Row(name=f"table: {name}", door="table of nuclei", make=make, expected=expected)
    yield Row(
        name="table: of somebody else",
        door="table of nuclei",
        make=_foreign_table,
        expected=Refused(DataError, "no table of nuclei"),
    )


def _foreign_table(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1, 2]}), folder / "a.parquet")
    return folder / "a.parquet"


def _planted() -> Iterator[Row]:
    for name in PLANTS:
        make = partial(_with_plant, name)
        yield Row(name=f"planted: {name}", door="segment_slide", make=make, expected=Refused(OutputError, "a.wsinuc/"))


def _with_plant(name: str, folder: Path) -> Given:
    PLANTS[name](folder / "a.wsinuc", somebodys(folder))
    return Given(Path(_shelf().name) / "a.tif", {"out": folder / "a.wsinuc"})


def _model() -> Path:
    return Path(_shelf().name) / "model.safetensors"


def _checkpoints() -> Iterator[Row]:
    kinds: dict[str, tuple[Callable[[Path], Path], Gives | Refused]] = {
        "good": (lambda folder: _model(), Gives(("Nucleus",))),
        "a pickle": (_pickle, Refused(CheckpointError, "pickle")),
        "of another program": (_foreign_weights, Refused(CheckpointError, "was not written by wsinuc")),
        "cut off": (
            lambda folder: file("a.safetensors", _model().read_bytes()[:-10], folder),
            Refused(CheckpointError, "no complete safetensors file"),
        ),
        "empty": (partial(file, "a.safetensors", b""), Refused(CheckpointError, "no complete safetensors file")),
        "a header that claims a gigabyte": (_announced, Refused(CheckpointError, "header of 1024 MiB is no model's")),
        "weights that share their bytes": (_overlapping, Refused(CheckpointError, "no complete safetensors file")),
        "a pipe": (partial(make_no_file, "pipe", name="a.safetensors"), Refused(CheckpointError, "is a named pipe")),
        "missing": (partial(make_no_file, "missing", name="a.safetensors"), Refused(CheckpointError, "no weights at")),
        "a name misspelt": (lambda folder: Path("defualt"), Refused(CheckpointError, "defualt")),
    }
    for name, (make, expected) in kinds.items():
        yield Row(name=f"model: {name}", door="load_segmenter", make=make, expected=expected)


def _pickle(folder: Path) -> Path:
    torch.save({"a": torch.zeros(2)}, folder / "a.pt")
    return (folder / "a.pt").rename(folder / "a.safetensors")


def _foreign_weights(folder: Path) -> Path:
    save_file({"a": torch.zeros(2)}, folder / "a.safetensors")
    return folder / "a.safetensors"


def _announced(folder: Path) -> Path:
    with (folder / "a.safetensors").open("wb") as stream:
        stream.write((2**30).to_bytes(8, "little") + b"{")
        stream.truncate(2**30 + 100)  # a hole, no bytes
    return folder / "a.safetensors"


def _overlapping(folder: Path) -> Path:
    header, weights = raw_parts(_model())
    first, second = [name for name in header if name != "__metadata__"][:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    return write_raw(folder / "a.safetensors", json.dumps(header), weights)


def _headers() -> Iterator[Row]:
    """Values of the header of ours that cannot be."""
    for number, value in enumerate(ODD):
        at: tuple[str | int, ...] = ("tile",)
        if value is not True and not isinstance(value, int):
            make = partial(_odd_header, at, value)
            name = f"header: tile of {str(value)[:20].encode('unicode_escape').decode()} ({number})"
            yield Row(
                name=name, door="load_segmenter", make=make, expected=Refused(CheckpointError, "tile: Expected `int`")
            )
    kinds: dict[str, tuple[tuple[str | int, ...], object, str]] = {
        "a tile of a billion": (("tile",), 10**9, "tile: Expected `int` <= 8192"),
        "a margin as large as the tile": (("margin",), 48, "must exceed twice the margin"),
        "forty levels": (("network", "levels"), 40, "levels: Expected `int` <= 8"),
        "another width": (("network", "base"), 5, "the weights do not fit their own header"),
        "an unknown method": (("method",), "magic", "upgrade wsinuc"),
        "a class with an escape sequence": (("classes", 0, "name"), "a\x1b[31m", "matching regex"),
        "a colour of 256": (("classes", 0, "color", 1), 256, "<= 255"),
        "an unknown field": (("surprise",), 1, "unknown"),
        "a range that ends where it begins": (("mpp_range",), [2.0, 1.0], "begins with the finest"),
    }
    for name, (at, value, says) in kinds.items():
        make = partial(_odd_header, at, value)
        yield Row(name=f"header: {name}", door="load_segmenter", make=make, expected=Refused(CheckpointError, says))
    texts = {"no number": '{"kind": "segmenter", "config": {"tile": NaN}, "provenance": {}}', "no header": "{"}
    for name, text in texts.items():
        make = partial(_header_text, text)
        yield Row(
            name=f"header: {name}", door="load_segmenter", make=make, expected=Refused(CheckpointError, "a.safetensors")
        )


def _odd_header(at: tuple[str | int, ...], value: object, folder: Path) -> Path:
    own = own_header(_model())
    return _header_text(json.dumps({**own, "config": changed(own["config"], at, value)}), folder)


def _header_text(text: str, folder: Path) -> Path:
    return with_header(_model(), text, folder / "a.safetensors")
