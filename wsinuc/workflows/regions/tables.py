"""Figures of regions as CSV: a line for each region, and in a second file a line for each band of each region.

Where conditions say which nuclei count, the column ``where`` has them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsinuc.exports.atomic import replacing
from wsinuc.regular import require_parent
from wsinuc.workflows.regions.bands import Band
from wsinuc.workflows.regions.figures import RegionFigures


def bands_file(path: Path) -> Path:
    """Where the bands go: ``regions.csv`` has ``regions.bands.csv`` beside it."""
    return path.with_name(f"{path.stem}.bands{path.suffix}")


def write_tables(figures: Sequence[RegionFigures], path: Path) -> list[Path]:
    """Write the regions, and the bands if there are any; returns the files.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or the disk is full.
    """
    require_parent(path)
    texts = {path: to_csv(region_rows(figures))}
    if any(each.bands for each in figures):
        texts[bands_file(path)] = to_csv(band_rows(figures))
    for file, text in texts.items():
        with replacing(file) as stream:
            stream.write(text.encode())
    return list(texts)


def region_rows(figures: Sequence[RegionFigures]) -> list[dict[str, Any]]:
    """A row for each region: area, nuclei and densities, of all and by class, and medians of measurements."""
    return [_region_row(each) for each in figures]


def _region_row(each: RegionFigures) -> dict[str, Any]:
    row: dict[str, Any] = {
        "slide": each.slide,
        "region": each.region,
        "region_class": each.class_name,
        **_counted(each),
        "area_mm2": each.area_mm2,
        "nuclei": each.nuclei,
        "nuclei_per_mm2": each.nuclei / each.area_mm2,
    }
    for name, count in each.counts.items():
        row[f"nuclei_{name}"] = count
        row[f"nuclei_per_mm2_{name}"] = count / each.area_mm2
        row[f"share_{name}"] = count / each.nuclei if each.nuclei else math.nan
    row |= {f"median_{name}": value for name, value in each.medians.items()}
    # Of one class they are those of all.
    if len(each.counts) > 1:
        for class_name, medians in each.class_medians.items():
            row |= {f"median_{name}_{class_name}": value for name, value in medians.items()}
    return row


def _counted(each: RegionFigures) -> dict[str, str]:
    """Which nuclei count, where not all do: a column of its own."""
    return {"where": " and ".join(each.where)} if each.where else {}


def band_rows(figures: Sequence[RegionFigures]) -> list[dict[str, Any]]:
    """A row for each band of each region, from the core of the region outwards."""
    return [_band_row(each, band.band, band.counts) for each in figures for band in each.bands]


def _band_row(each: RegionFigures, band: Band, counts: dict[str, int]) -> dict[str, Any]:
    nuclei = sum(counts.values())
    row: dict[str, Any] = {
        "slide": each.slide,
        "region": each.region,
        "region_class": each.class_name,
        **_counted(each),
        "side": band.side,
        "from_um": band.from_um,
        "to_um": "" if math.isinf(band.to_um) else band.to_um,
        "area_mm2": band.area_mm2,
        "nuclei": nuclei,
        "nuclei_per_mm2": _density(nuclei, band.area_mm2),
    }
    for name, count in counts.items():
        row[f"nuclei_{name}"] = count
        row[f"nuclei_per_mm2_{name}"] = _density(count, band.area_mm2)
    return row


def _density(count: int, area_mm2: float) -> float:
    # A band that lies beyond the slide, or deeper than the region is wide, has no area.
    return count / area_mm2 if area_mm2 > 0 else math.nan


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV text; columns that a row lacks, and what is not known, are empty."""
    stream = io.StringIO()
    # Slides of several models have classes of their own.
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return _safe(value)
    return "" if math.isnan(value) else f"{value:.6g}"


def _safe(value: Any) -> Any:
    """Text that a spreadsheet does not take for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def to_lines(figures: Iterable[RegionFigures]) -> list[list[str]]:
    """The figures that fit on a screen, as cells of lines with a head: area, nuclei and densities by class."""
    figures = list(figures)
    classes = list(dict.fromkeys(name for each in figures for name in each.counts))
    lines = [["slide", "region", "class", "mm²", "nuclei", "per mm²"]]
    if len(classes) > 1:
        lines[0] += [f"{name} per mm²" for name in classes]
    lines[0] += ["median area µm²"]
    for each in figures:
        line = [each.slide, each.region, each.class_name or "-", f"{each.area_mm2:.4g}", f"{each.nuclei:,}"]
        line.append(f"{each.nuclei / each.area_mm2:,.0f}")
        if len(classes) > 1:
            line += [f"{each.counts.get(name, 0) / each.area_mm2:,.0f}" for name in classes]
        area = each.medians.get("area_um2", math.nan)
        lines.append([*line, "-" if math.isnan(area) else f"{area:.1f}"])
    return lines


def band_lines(figures: Iterable[RegionFigures]) -> list[list[str]]:
    """The bands that fit on a screen, as cells of lines with a head; only the head where there are none."""
    lines = [["slide", "region", "band", "mm²", "nuclei", "per mm²"]]
    for each in figures:
        for item in each.bands:
            band = item.band
            reach = f"over {band.from_um:g} µm" if math.isinf(band.to_um) else f"{band.from_um:g} to {band.to_um:g} µm"
            nuclei = sum(item.counts.values())
            density = _density(nuclei, band.area_mm2)
            shown = "-" if math.isnan(density) else f"{density:,.0f}"
            lines.append(
                [each.slide, each.region, f"{reach} {band.side}", f"{band.area_mm2:.4g}", f"{nuclei:,}", shown]
            )
    return lines
