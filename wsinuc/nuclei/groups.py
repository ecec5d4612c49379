"""The groups of measurements that are made of a block's pixels, added to the nuclei that it owns.

``neighbours`` reach farther than a block sees; they are added when nuclei are numbered (`wsinuc.nuclei.neighbours`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.nuclei.densities import stain_densities
from wsinuc.nuclei.ellipse import form_measurements
from wsinuc.nuclei.measured_names import OF_PIXELS, SHAPE, STAIN, TEXTURE, columns_of
from wsinuc.nuclei.stains import StainVectors, density_tables
from wsinuc.nuclei.table import Nuclei, bounding_boxes
from wsinuc.nuclei.texture import textures

SIDES = ("y0", "x0", "y1", "x1")


@dataclass(frozen=True, slots=True)
class PixelGroups:
    """Which groups are measured, and with which stain vectors."""

    groups: tuple[str, ...] = ()
    """Of ``shape``, ``stain`` and ``texture``."""
    stains: StainVectors | None = None
    """Needed for ``stain`` and ``texture``."""

    @property
    def need_pixels(self) -> bool:
        """Whether the slide's pixels are looked at."""
        return not OF_PIXELS.isdisjoint(self.groups)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all measurements of the nuclei that `added` returns."""
        return columns_of(self.groups)

    def added(
        self,
        nuclei: Nuclei,
        labels: NDArray[np.int32],
        foreground: NDArray[np.uint8],
        pixels: NDArray[np.uint8] | None,
        box: Box,
    ) -> Nuclei:
        """The nuclei with the measurements of the groups.

        Parameters
        ----------
        nuclei
            Their ids are their labels.
        labels, foreground
            int32 and uint8 ``(h, w)``.
        pixels
            uint8 ``(h, w, 3)``; None where no group needs them.
        box
            Where in the view the arrays lie.
        """
        boxes = bounding_boxes(nuclei.outlines, nuclei.offsets)
        inside = boxes - np.array([box.y0, box.x0, box.y0, box.x0])
        labels = np.ascontiguousarray(labels, np.int32)
        columns: dict[str, NDArray[np.float64]] = {}
        if "shape" in self.groups:
            columns |= _shape(nuclei, labels, boxes, inside)
        if self.need_pixels:
            assert pixels is not None
            pixels = np.ascontiguousarray(pixels)
            columns |= self._of_pixels(nuclei, labels, np.ascontiguousarray(foreground), pixels, inside)
        measured = {name: values.astype(np.float32) for name, values in columns.items()}
        return replace(nuclei, measurements=nuclei.measurements | measured)

    def _of_pixels(
        self,
        nuclei: Nuclei,
        labels: NDArray[np.int32],
        foreground: NDArray[np.uint8],
        pixels: NDArray[np.uint8],
        boxes: NDArray[np.int64],
    ) -> dict[str, NDArray[np.float64]]:
        """The groups ``stain`` and ``texture``; bounding boxes are in the arrays."""
        assert self.stains is not None
        tables = density_tables(self.stains)
        mpp = nuclei.frame.mpp
        columns: dict[str, NDArray[np.float64]] = {}
        if "stain" in self.groups:
            values = stain_densities(labels, nuclei.ids, boxes, foreground, pixels, tables, mpp)
            columns |= {each.name: values[:, k] for k, each in enumerate(STAIN)}
        if "texture" in self.groups:
            values = textures(labels, nuclei.ids, boxes, pixels, tables, mpp)
            columns |= {each.name: values[:, k] for k, each in enumerate(TEXTURE)}
        return columns


def _shape(
    nuclei: Nuclei, labels: NDArray[np.int32], boxes: NDArray[np.int64], inside: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    form = form_measurements(labels, nuclei.ids, inside, nuclei.outlines, nuclei.offsets, nuclei.frame.mpp)
    hull_length = form.pop("hull_length_um")
    form["convexity"] = np.minimum(1.0, hull_length / nuclei.measurements["length_um"])
    form |= {f"box_{side}_px": boxes[:, k].astype(np.float64) for k, side in enumerate(SIDES)}
    return {each.name: form[each.name] for each in SHAPE}
