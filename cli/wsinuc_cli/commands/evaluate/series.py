"""One evaluation for each of several resolutions or thresholds, and the table that compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset
    from wsinuc.segmenters.base import Segmenter
    from wsinuc.workflows.evaluate.run import Predict

COLUMNS = ("dice", "aji", "aji_plus", "dq", "sq", "pq")
"""Means over images that are shown."""
TITLES = {
    "aji_plus": "aji+",
    "f_detection": "F_d",
    "expected_calibration_error": "calib. e.",
    "true_nuclei": "annotated",
    "predicted_nuclei": "predicted",
}
"""What stands over other figures than under their own names."""


def evaluate_at_resolutions(dataset: Dataset, predict: Predict, resolutions: str, files: dict[str, Any]) -> None:
    """One evaluation per resolution, and a table of all below them."""
    from wsinuc.workflows.evaluate import resolutions as task

    wanted = task.parse_resolutions(resolutions)

    def tell(mpp: float) -> None:
        echo(f"{mpp:g} um per pixel")

    rows = task.resolution_rows(task.evaluate_resolutions(dataset, predict, wanted, on_resolution=tell, **files))
    _show_series("Means over images, compared at the resampled resolution:", "mpp", rows, files)
    if files["out"] is not None:
        echo(f"Written to {files['out']}: resolutions.csv, resolutions.json and a folder per resolution")


def evaluate_at_thresholds(
    dataset: Dataset, segmenter: Segmenter, thresholds: tuple[float, ...], files: dict[str, Any]
) -> None:
    """One evaluation per threshold, and a table of all below them."""
    from wsinuc.workflows.evaluate import thresholds as task

    def tell(threshold: float) -> None:
        echo(f"threshold {threshold:g}")

    evaluations = task.evaluate_thresholds(dataset, segmenter, thresholds, on_threshold=tell, **files)
    _show_series("Means over images:", "threshold", task.threshold_rows(evaluations), files)
    if files["out"] is not None:
        echo(f"Written to {files['out']}: thresholds.csv, thresholds.json and a folder per threshold")


def _show_series(title: str, name: str, rows: Sequence[Mapping[str, float]], files: Mapping[str, Any]) -> None:
    """A line per value of what was tried."""
    echo()
    echo(title)
    columns = (name, *COLUMNS, "f_detection", "expected_calibration_error", "true_nuclei", "predicted_nuclei")
    shown = [column for column in columns if column in rows[0]]
    echo("  ".join(f"{TITLES.get(column, column):>9}" for column in shown))
    for row in rows:
        echo("  ".join(_cell(row[column]) for column in shown))
    for note in files.get("notes", ()):
        echo(f"Note: {note}")


def _cell(value: float) -> str:
    """A count, or a figure with three digits, nine letters wide."""
    if isinstance(value, int):
        return f"{value:9d}"
    return f"{value:9.3f}"
