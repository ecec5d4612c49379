"""A field of view as one picture, with its scale bar: what is seen, in as many pixels as are wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.errors import ConfigError
from wsinuc.exports.pictures.drawing import scale_bar
from wsinuc.grid import Box
from wsinuc.workflows.view.opened import Opened
from wsinuc.workflows.view.tiles.map_choice import MapChoice
from wsinuc.workflows.view.tiles.style import Style

LARGEST = 16_000_000
"""Pixels of a picture, at most: more than two screens of 4K have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLayers:
    """What lies over the slide."""

    nuclei: float = 1.0
    """Opacity of the nuclei, 0 to 1."""
    choice: MapChoice | None = None
    """A map below them; None for none."""
    map_opacity: float = 1.0
    """Of the map, 0 to 1."""


ALL = PictureLayers()


def field_picture(
    opened: Opened, box: Box, down: float, style: Style, layers: PictureLayers = ALL
) -> NDArray[np.uint8]:
    """RGB of a field.

    Parameters
    ----------
    box
        In pixels of the picture.
    down
        Level-0 pixels per pixel of the picture.
    layers
        What is drawn over the slide.

    Raises
    ------
    ConfigError
        The picture would be too large.
    """
    if box.shape[0] * box.shape[1] > LARGEST:
        raise ConfigError(f"a picture of {box.shape[1]:,} x {box.shape[0]:,} px is too large")
    image = Image.fromarray(_slide(opened, box, down)).convert("RGBA")
    if layers.choice is not None:
        _over(image, opened.map_layer(layers.choice, style).draw(box, down), layers.map_opacity)
    if layers.nuclei > 0 and opened.table is not None:
        _over(image, opened.nuclei_pixels(box, down, style), layers.nuclei)
    image = image.convert("RGB")
    if opened.mpp is not None:
        scale_bar(image, opened.mpp * down)
    return np.asarray(image)


def _over(image: Image.Image, layer: NDArray[np.uint8], opacity: float) -> None:
    faded = layer.copy()
    faded[..., 3] = np.round(layer[..., 3] * opacity)
    image.alpha_composite(Image.fromarray(faded))


def _slide(opened: Opened, box: Box, down: float) -> NDArray[np.uint8]:
    """The slide's pixels; closer than its own they are enlarged."""
    if down >= 1:
        return opened.slide_pixels(box, down)
    edges = np.array((box.y0, box.x0, box.y1, box.x1)) * down
    source = Box(*np.floor(edges[:2]).astype(int).tolist(), *np.ceil(edges[2:]).astype(int).tolist())
    y0, x0, y1, x1 = (edges - (source.y0, source.x0, source.y0, source.x0)).tolist()
    image = Image.fromarray(opened.slide_pixels(source, 1.0))
    size = (box.shape[1], box.shape[0])
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)))
