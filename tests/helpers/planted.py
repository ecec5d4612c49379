"""What another user may have laid into a shared folder before a run: links, pipes, precious files under other names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from wsinuc.store.ledger import write_sealed

PRECIOUS = "precious\n"
Plant = Callable[[Path, Path], Path]
"""Lays something below a result, given a folder of somebody's precious things; returns what a message must name."""


def somebodys(folder: Path) -> Path:
    """A folder that holds a file and folders of the names that a run uses."""
    home = folder / "home"
    for name in ("blocks", "done", "ready/nuclei", "nuclei", "labels.ome.zarr"):
        (home / name).mkdir(parents=True)
        (home / name / "precious").write_text(PRECIOUS)
    (home / "precious").write_text(PRECIOUS)
    (home / "settings.json").write_text(PRECIOUS)
    return home


def unchanged(home: Path) -> bool:
    """Whether nothing in that folder was changed, added or removed."""
    files = [path for path in home.rglob("*") if path.is_file()]
    return len(files) == 7 and all(path.read_text() == PRECIOUS for path in files)


def interrupted(result: Path) -> Path:
    """The working area of a run without blocks."""
    work = result / ".run"
    (work / "blocks").mkdir(parents=True)
    (work / "done").mkdir()
    write_sealed({}, work / "settings.json")
    return work


def link(name: str, target: str = "precious") -> Plant:
    """A symbolic link at ``name``."""

    def plant(result: Path, home: Path) -> Path:
        work = interrupted(result)
        path = work / name
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(home / target)
        return path

    return plant


def hard_link(name: str) -> Plant:
    """Another name for a precious file."""

    def plant(result: Path, home: Path) -> Path:
        path = interrupted(result) / name
        path.unlink(missing_ok=True)
        os.link(home / "precious", path)
        return path

    return plant


def pipe(name: str) -> Plant:
    """A pipe: who opens it waits for ever."""

    def plant(result: Path, home: Path) -> Path:
        path = interrupted(result) / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        return path

    return plant


def foreign(name: str) -> Plant:
    """A file that is no file of ours."""

    def plant(result: Path, home: Path) -> Path:
        path = interrupted(result) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PRECIOUS)
        return path

    return plant


def area_as_link(result: Path, home: Path) -> Path:
    """The working area itself leads elsewhere."""
    result.mkdir(parents=True)
    (result / ".run").symlink_to(home)
    return result / ".run"


def output_as_link(name: str, target: str) -> Plant:
    """An output's name in the result leads elsewhere."""

    def plant(result: Path, home: Path) -> Path:
        interrupted(result)
        (result / name).symlink_to(home / target)
        return result / name

    return plant


PLANTS: dict[str, Plant] = {
    "the area is a link": area_as_link,
    "blocks is a link": link("blocks", "blocks"),
    "done is a link": link("done", "done"),
    "ready is a link": link("ready", "ready"),
    "ready/nuclei is a link": link("ready/nuclei", "nuclei"),
    "ready/labels.ome.zarr is a link": link("ready/labels.ome.zarr", "labels.ome.zarr"),
    "a link deep in ready": link("ready/labels.ome.zarr/labels/nuclei"),
    "the lock is a link": link("lock"),
    "the lock is a link to nowhere": link("lock", "nothing"),
    "a lock's probe is a link": link("lock.probe-00000000"),
    "settings is a link": link("settings.json", "settings.json"),
    "settings is a pipe": pipe("settings.json"),
    "settings is a hard link": hard_link("settings.json"),
    "a partial file is a link": link("settings.json.partial"),
    "the calibration is a link": link("calibration"),
    "the calibration is a pipe": pipe("calibration"),
    "the stain vectors are a link": link("stains"),
    "the owner's name is a link": link("owner"),
    "the notes of an upload are a link": link("uploaded"),
    "the notes of an upload are a hard link": hard_link("uploaded"),
    "a block is a link": link("blocks/000001.parquet"),
    "a block is a hard link": hard_link("blocks/000001.parquet"),
    "a block is a pipe": pipe("blocks/000001.parquet"),
    "a token is a link": link("blocks/seen-0"),
    "an entry is a link": link("done/000001.json"),
    "an entry is a pipe": pipe("done/000001.json"),
    "somebody's file in blocks": foreign("blocks/thesis.docx"),
    "somebody's file in done": foreign("done/thesis.docx"),
    "somebody's file in ready": foreign("ready/thesis.docx"),
    "the table is a link": output_as_link("nuclei", "nuclei"),
    "the label images are a link": output_as_link("labels.ome.zarr", "labels.ome.zarr"),
    "the preview is a link": output_as_link("preview.png", "precious"),
    "the report is a link": output_as_link("report.html", "precious"),
    "the summary is a link": output_as_link("summary.json", "precious"),
    "the summary is a link to nowhere": output_as_link("summary.json", "nothing"),
}
