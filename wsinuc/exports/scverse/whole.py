"""A finished result, its whole table in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import DataError
from wsinuc.nuclei import Nuclei, concatenate
from wsinuc.store import iter_nuclei, settings_hash
from wsinuc.store.conditions import Conditions
from wsinuc.store.manifest import read_made
from wsinuc.store.typed import Facts, typed
from wsinuc.urls import PathLike, to_path


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeResult:
    """All nuclei of one slide, and the run that found them."""

    folder: Path
    nuclei: Nuclei
    run_id: str
    """Names the run; with a nucleus' id it gives the nucleus' UUID."""
    slide: str
    """File name of the slide."""
    has_image: bool
    """Whether the result holds pixels of the slide."""
    where: tuple[str, ...] = ()
    """Conditions for which these nuclei alone are here."""


def read_whole(result: PathLike, *, where: str | Sequence[str] = ()) -> WholeResult:
    """Read the table of a finished result, or those nuclei of it for which conditions hold.

    Raises
    ------
    ConfigError
        A condition has another form, or the table has no such column or class.
    DamageError, OutputError
        The result is damaged, or is none, as `wsinuc.store.iter_nuclei` says.
    DataError
        Its summary does not name the settings of the run.
    """
    folder = to_path(result)
    conditions = Conditions.parse(where)
    nuclei = concatenate([conditions.of_nuclei(part) for part in iter_nuclei(folder)])
    content = read_made(folder).content
    facts = typed(Facts, content)
    if facts is None or "settings" not in facts:
        raise DataError(
            f"{folder / 'summary.json'} does not say with which settings the result was made: "
            "segment the slide again with --overwrite"
        )
    settings = facts["settings"]
    return WholeResult(
        folder=folder,
        nuclei=nuclei,
        run_id=settings_hash(settings),
        slide=Path(str(content.get("slide", ""))).name,
        has_image=settings.get("image", "none") != "none",
        where=conditions.texts,
    )
