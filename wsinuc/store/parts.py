"""The table of a result part by part, each part checked before its rows are handed out.

A finished result's parts are those of its manifest. While a result is being made there is none yet;
then the hashes of the numbered parts lie in ``.run/parts``, 32 bytes per block, so that any process
finds the one of a block without reading all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc import durable
from wsinuc.errors import DamageError, DataError, OutputError
from wsinuc.nuclei import Nuclei, read_nuclei
from wsinuc.nuclei.columns import Provenance
from wsinuc.nuclei.parquet import read_provenance, read_table
from wsinuc.store.ledger import settings_hash
from wsinuc.store.manifest import PLAIN, Made, require_whole, sizes_below
from wsinuc.store.outputs import part_block, part_name
from wsinuc.urls import Place, PlaceLike, to_place

if TYPE_CHECKING:
    import pyarrow as pa

_HASH = 32
_NONE = bytes(_HASH)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The table of a result, part by part, as often as one likes; see ``iter_nuclei``."""

    directory: Place

    def __iter__(self) -> Iterator[Nuclei]:
        return iter_nuclei(self.directory)


def iter_nuclei(directory: PlaceLike) -> Iterator[Nuclei]:
    """Parts of the table in the order of ids.

    Every part is compared with the manifest before its rows are yielded. A result of a version that
    wrote no manifest is read as it is, with a warning in the log.

    Parameters
    ----------
    directory
        A finished result, or its URL.

    Yields
    ------
    Nuclei
        The nuclei of one block after another; only one part is held at a time.

    Raises
    ------
    DamageError
        Files of the result are missing, changed, swapped or foreign, or its summary is unreadable. Names and sizes are
        compared before the first part is yielded, the content of a part before that part is.
    OutputError
        It is no finished result.
    RemoteError
        The URL is out of reach.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> result = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", result, config)
    >>> sum(len(part) for part in wsinuc.iter_nuclei(result)) == summary.nuclei
    True
    """
    folder = to_place(directory)
    for name, sha256 in _hashes(folder, require_whole(folder)).items():
        yield read_nuclei(folder / name, sha256)


def iter_tables(directory: PlaceLike) -> Iterator[pa.Table]:
    """The same parts as Arrow tables, with the columns that ``wsinuc.nuclei.columns`` lists.

    Parts of an older version come with today's columns: polygons for outlines, positions in um, and
    the UUIDs that the nuclei have in the result's GeoJSON. All parts have the same columns and metadata.
    Raises as `iter_nuclei` does, and DataError for a part that is none of this table.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> from wsinuc.store import iter_tables
    >>> result = tempfile.mkdtemp() + "/field.wsinuc"
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> summary = wsinuc.segment_slide("examples/data/field.png", result, config)
    >>> sum(part.num_rows for part in iter_tables(result)) == summary.nuclei
    True
    """
    for _, table in iter_named_tables(directory):
        yield table


def iter_named_tables(directory: PlaceLike) -> Iterator[tuple[str, pa.Table]]:
    """The parts of `iter_tables` with their names in the result, such as ``nuclei/part-00000.parquet``."""
    folder = to_place(directory)
    made = require_whole(folder)
    schema: pa.Schema | None = None
    for name, sha256 in _hashes(folder, made).items():
        table = read_table(folder / name, sha256, _run_of(made))
        schema = schema or table.schema
        # A seal tells damage, not intent, and whoever joins parts counts on this.
        if not table.schema.equals(schema, check_metadata=True):
            raise DataError(f"{folder / name} has other columns than the parts before it: it is of another result")
        yield name, table


def part_hashes(directory: str | Place) -> dict[str, str | None]:
    """Names of the parts of a finished result's table in the order of ids, each with the hash that it must have.

    None stands for a hash where the result is of a version that wrote none. Raises as `iter_nuclei` does.
    """
    folder = to_place(directory)
    return _hashes(folder, require_whole(folder))


def provenance(directory: str | Place) -> Provenance:
    """The run that numbered the nuclei of a finished result, and where QuPath's coordinates begin.

    Raises
    ------
    DataError
        The result is of a version that did not note its run.
    DamageError, OutputError, RemoteError
        As `iter_nuclei` raises them.
    """
    folder = to_place(directory)
    made = require_whole(folder)
    for name in _hashes(folder, made):
        # Every part says the same.
        run = read_provenance(folder / name) or _run_of(made)
        if run is not None:
            return run
        break
    raise DataError(
        f"{folder} was made by a version of wsinuc that did not note its run, so its nuclei have no UUIDs: "
        "segment the slide again with --overwrite"
    )


def _hashes(folder: Place, made: Made) -> dict[str, str | None]:
    """Hashes of the parts of the table by their names, in the order of ids; None where no manifest has them."""
    hashes: dict[str, str | None]
    if made.kind == PLAIN:
        _log.warning("%s was made by a version of wsinuc that wrote no checksums: its files are not verified", folder)
        hashes = dict.fromkeys(_plain_parts(folder))
    else:
        hashes = {name: digest.sha256 for name, digest in made.files.items() if part_block(name) is not None}
    return {name: hashes[name] for name in sorted(hashes, key=_order)}


def _run_of(made: Made) -> Provenance | None:
    """The run by what its summary says; a part of the table that says it itself knows more."""
    settings = made.content.get("settings")
    if settings:
        return Provenance(run_id=settings_hash(settings), origin_yx=None)
    return None


@dataclass(frozen=True, slots=True)
class NumberedParts:
    """Numbered parts of a result that is being made, in the order of ids; as often as one likes."""

    ready: Path
    """Folder of the outputs."""
    index: Path
    """The file of their hashes."""

    def write(self, hashes: Mapping[int, str]) -> None:
        """Note the hashes of the parts, by block."""
        rows = (bytes.fromhex(hashes[block]) if block in hashes else _NONE for block in range(max(hashes) + 1))
        with durable.replacing(self.index) as file:
            file.write(b"".join(rows))

    def hashes(self) -> dict[str, str]:
        """Hashes of all parts by their names in the result."""
        content = self.index.read_bytes()
        rows = [content[start : start + _HASH] for start in range(0, len(content), _HASH)]
        return {part_name(block): row.hex() for block, row in enumerate(rows) if row != _NONE}

    def read(self, block: int) -> Nuclei:
        """The numbered nuclei of a block.

        Raises
        ------
        OutputError
            The part is not what was written: damaged on disk since.
        """
        name = part_name(block)
        try:
            # 32 bytes of it: a slide may have a million blocks, and every task asks.
            with self.index.open("rb") as file:
                file.seek(block * _HASH)
                expected = file.read(_HASH)
            return read_nuclei(self.ready / name, expected.hex())
        except (DamageError, FileNotFoundError) as error:
            raise OutputError(
                f"{self.ready / name} was damaged on disk after it was written: check the disk and run the "
                "same command again, the blocks are kept"
            ) from error

    def __iter__(self) -> Iterator[Nuclei]:
        for name in sorted(self.hashes(), key=_order):
            yield self.read(_order(name))


def _order(name: str) -> int:
    block = part_block(name)
    assert block is not None
    return block


def _plain_parts(folder: Place) -> list[str]:
    return [name for name in sizes_below(folder) if part_block(name) is not None]
