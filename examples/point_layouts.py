"""How real and simulated layouts of nuclei compare: `python examples/point_layouts.py DATA OUT.png [MPP]`.

Fits a point process to every other image of a data set and holds its layouts against the images
left out: pair correlation, distance to the nearest nucleus, nuclei per field, and four fields of
each to look at.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsinuc.datasets import open_dataset
from wsinuc.synthesis.layouts import layout_of
from wsinuc.synthesis.pair_correlation import Field, count_pairs, nearest_distances
from wsinuc.synthesis.point_process import BIN_UM, FIELD_UM, REACH_UM, PointProcess, fields_of

EDGES = np.arange(0, REACH_UM + BIN_UM / 2, BIN_UM)
COLOURS = ("tab:purple", "tab:green", "tab:orange", "tab:blue", "tab:red", "tab:brown")


def main(data: str, out: Path, mpp: float) -> None:
    """Fit, simulate as many fields as were held out, at least 400, print figures and draw one page."""
    layouts = [layout_of(image.labels, image.classes) for image in open_dataset(data, mpp=mpp)]
    start = time.perf_counter()
    process = PointProcess.fit(layouts[::2], mpp)
    print(f"fitted to {len(layouts[::2])} images in {time.perf_counter() - start:.1f} s")
    held_out = [field for layout in layouts[1::2] for field in fields_of(layout, mpp)]
    fitted = [field for layout in layouts[::2] for field in fields_of(layout, mpp)]
    side = round(FIELD_UM / mpp)
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    drawn = [process.simulate((side, side), rng) for _ in range(max(400, len(held_out)))]
    print(f"{1000 * (time.perf_counter() - start) / len(drawn):.0f} ms per layout of {side} px")
    simulated = [field for layout in drawn for field in fields_of(layout, mpp)]
    groups = {"fitted to": fitted, "held out": held_out, "simulated": simulated}
    for name, fields in groups.items():
        print(f"{name:10s} {figures(fields)}")
    draw_page(groups, out)


def figures(fields: list[Field]) -> str:
    """The statistics of fields in one line."""
    counts = per_field(fields)
    distances = nearest_distances(fields)
    g = count_pairs(fields, EDGES, kinds_of(fields)).pooled()
    low, middle, high = np.percentile(distances, [10, 50, 90])
    return (
        f"nuclei per field {counts.mean():.1f} ± {counts.std():.1f}; nearest nucleus (10, 50, 90 %) {low:.1f}, "
        f"{middle:.1f}, {high:.1f} um; g at 2-4, 6-10, 15-24 um: {g[2:4].mean():.2f}, {g[6:10].mean():.2f}, "
        f"{g[15:].mean():.2f}"
    )


def kinds_of(fields: list[Field]) -> int:
    """Number of classes in fields."""
    return 1 + max(int(field.kinds.max(initial=0)) for field in fields)


def per_field(fields: list[Field]) -> np.ndarray:
    """Nuclei in each field, scaled to the area of ``FIELD_UM`` squared."""
    return np.array([len(field.points) / np.prod(field.size) * FIELD_UM**2 for field in fields])


def draw_page(groups: dict[str, list[Field]], out: Path) -> None:
    """Three plots, and below them four held-out and four simulated fields of like numbers of nuclei."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 12)
    pair, near, count = (figure.add_subplot(grid[0, 4 * i : 4 * i + 4]) for i in range(3))
    for name, fields in groups.items():
        distances = nearest_distances(fields)
        pair.plot(EDGES[:-1] + BIN_UM / 2, count_pairs(fields, EDGES, kinds_of(fields)).pooled(), label=name)
        near.hist(distances, np.arange(0, 20, 0.5), density=True, histtype="step", label=name)
        count.hist(per_field(fields), np.arange(0, 160, 8), density=True, histtype="step", label=name)
    pair.set(xlabel="distance (um)", ylabel="pair correlation g")
    near.set(xlabel="distance to the nearest nucleus (um)", ylabel="density")
    count.set(xlabel=f"nuclei per field of {FIELD_UM:g} um", ylabel="density")
    for axes in (pair, near, count):
        axes.legend()
    for row, name in enumerate(("held out", "simulated"), start=1):
        order = np.argsort(per_field(groups[name]), kind="stable")
        for i, quantile in enumerate((0.3, 0.5, 0.7, 0.9)):
            draw_field(
                figure.add_subplot(grid[row, 3 * i : 3 * i + 3]), groups[name][order[int(quantile * len(order))]]
            )
            figure.axes[-1].set_title(f"{name}, {quantile:.0%} of fields have fewer", fontsize=9)
    figure.savefig(out, dpi=90, metadata={"Software": None})


def draw_field(axes, field: Field) -> None:
    """The nuclei of a field as dots of their class."""
    axes.scatter(field.points[:, 1], field.points[:, 0], s=60, c=[COLOURS[kind % 6] for kind in field.kinds], alpha=0.7)
    axes.set(xlim=(0, field.size[1]), ylim=(field.size[0], 0), aspect="equal", xticks=[], yticks=[])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.25)
