"""A finished result as GeoJSON for QuPath."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsinuc.errors import DataError, WsinucError
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.exports.qupath.polygons import Outlines
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.store import iter_nuclei, provenance
from wsinuc.store.conditions import Conditions
from wsinuc.store.manifest import read_made
from wsinuc.urls import to_place


def write_result_geojson(
    result: Path,
    out: Path,
    *,
    slide: Path | None = None,
    outlines: Outlines = "smooth",
    where: str | Sequence[str] = (),
    workers: int = 1,
) -> None:
    """Write the nuclei of a finished result as QuPath detections, with the ids that they have in its own GeoJSON.

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``).
    out
        ``.geojson``, ``.geojson.gz``, or ``.zip`` (entries of at most 10,000 nuclei); what lies there is replaced.
    slide
        The slide, for a result of version 0.2.0, which does not say where QuPath's coordinates begin; None takes it
        from where the result says it was.
    outlines
        Whether outlines are smooth, as QuPath measures them well, or run along the edges of pixels.
    where
        Conditions on the nuclei that are written, see `wsinuc.store.conditions`.
    workers
        Portions encoded at once, each in a thread.

    Raises
    ------
    ConfigError
        A condition has another form, or the table has no such column or class.
    DataError
        The result does not say where QuPath's coordinates begin, and its slide cannot be opened.
    DamageError, OutputError
        The result cannot be read, or ``out`` not be written.
    """
    conditions = Conditions.parse(where)
    run = provenance(result)
    origin_yx = run.origin_yx or _origin(result, slide)
    kept = (conditions.of_nuclei(part) for part in iter_nuclei(result))
    write_geojson(kept, out, origin_yx=origin_yx, run_id=run.run_id, outlines=outlines, workers=workers)


def _origin(result: Path, slide: Path | None) -> tuple[float, float]:
    """The corner of the slide from which QuPath counts, by the slide itself."""
    content = read_made(result).content
    place = slide or to_place(str(content.get("slide", "")))
    config = content.get("config", {})
    try:
        # In a process of its own: a slide that makes its library abort is an error like others.
        with open_isolated(place, reader=config.get("reader", "auto"), mpp=config.get("mpp")) as opened:
            return opened.origin
    except WsinucError as error:
        raise DataError(
            f"{result} is of version 0.2.0 and does not say where QuPath's coordinates begin, and its slide cannot "
            f"be asked ({error}): say where the slide is (--slide), or take the nuclei.geojson of the result"
        ) from error
