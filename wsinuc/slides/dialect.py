"""What stored samples mean, and RGB from them.

A file may hold an image as grey, inverted grey, indices into a palette, YCbCr, CMYK or RGB, with 1 to 16 bits, with
transparency of two kinds, mirrored or turned. A ``Dialect`` says which of these it is; ``to_rgb`` gives what a
microscope's screen would show on white. Readers of files make Dialects; nothing here knows a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.errors import SlideError
from wsinuc.slides.turn import TURNS, Turn

COLORS = ("rgb", "grey", "inverted", "palette", "ycbcr", "cmyk")
COLOR_SAMPLES = {"rgb": 3, "grey": 1, "inverted": 1, "palette": 1, "ycbcr": 3, "cmyk": 4}
"""Samples that hold the colour; transparency follows them."""


class DialectError(SlideError):
    """The file is understood, and its pixels cannot become the RGB of a brightfield image; no reader should try."""


class StackError(DialectError):
    """The file holds several planes of focus or points of time, and nothing says which of them is the slide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How the samples of a stored pixel become upright RGB on white."""

    color: str = "rgb"
    """One of ``COLORS``."""
    bits: int = 8
    """Bits of a sample that mean something, 1 to 16: full light is ``2**bits - 1``."""
    alpha: str = "none"
    """``none``, ``straight`` (colour as it is) or ``premultiplied`` (colour already darkened by the transparency)."""
    order: tuple[int, ...] = (0, 1, 2)
    """Which stored sample is red, green and blue; used for ``rgb``."""
    extra: int = 0
    """Samples behind these that mean nothing here."""
    planar: bool = False
    """The file keeps each sample in a plane of its own."""
    palette: bytes = b""
    """Red, green, blue of each index, for ``palette``."""
    orientation: int = 1
    """TIFF's orientation tag, 1 to 8."""

    @property
    def turn(self) -> Turn:
        """How the stored image must be turned."""
        return TURNS[self.orientation]

    @property
    def color_samples(self) -> int:
        """Samples of a pixel that hold the colour."""
        return COLOR_SAMPLES[self.color]

    @property
    def is_plain(self) -> bool:
        """Every reader understands it: upright 8-bit colour or grey, opaque, the samples of a pixel side by side."""
        return self.color in ("rgb", "grey", "ycbcr") and replace(self, color="rgb") == Dialect()

    @property
    def identity(self) -> str:
        """Short text that differs when the RGB of the same samples may differ."""
        parts = [self.color]
        if self.bits != 8:
            parts.append(f"{self.bits} bits")
        if self.alpha != "none":
            parts.append(f"{self.alpha} transparency")
        if self.extra:
            parts.append(f"{self.extra} more")
        if self.planar:
            parts.append("in planes" if self.order == (0, 1, 2) else f"in planes {self.order}")
        if self.orientation != 1:
            parts.append(f"orientation {self.orientation}")
        return ", ".join(parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the pixels came about."""
        notes = []
        if self.orientation != 1:
            notes.append(
                f"the file stores the image turned or mirrored (orientation {self.orientation}): coordinates "
                "are those of "
                "the upright image"
            )
        if self.color == "cmyk":
            notes.append("CMYK was turned into RGB without a colour profile: colours may be off")
        if self.alpha != "none":
            notes.append("transparent pixels were put on white")
        if self.extra:
            notes.append("a channel that the file does not call transparency was left out")
        return tuple(notes)

    def paper(self, samples: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Sample values ``(samples,)`` of a white pixel: for parts of a file that hold nothing."""
        dark = self.color in ("inverted", "cmyk", "palette")
        value = np.full(samples, 0 if dark else 2**self.bits - 1, dtype)
        if self.color == "ycbcr":
            value[1:3] = 128
        if self.color == "palette":
            value[0] = _lightest(self.palette)
        return value

    def to_rgb(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` on white, not yet turned, of stored samples ``(h, w, samples)``."""
        if self.color == "palette":
            colors: NDArray[np.uint8] = np.frombuffer(self.palette, np.uint8).reshape(-1, 3)
            rgb: NDArray[np.uint8] = colors[_as_indices(stored[..., 0])]
            return rgb
        light = _to_8_bits(stored, self.bits)
        rgb = self._color(light)
        if self.alpha == "none":
            return np.ascontiguousarray(rgb)
        return _on_white(rgb, light[..., self.color_samples], premultiplied=self.alpha == "premultiplied")

    def _color(self, light: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.color in ("grey", "inverted"):
            if self.color == "grey":
                grey = light[..., :1]
            else:
                grey = 255 - light[..., :1]
            return np.repeat(grey, 3, axis=2)
        if self.color == "cmyk":
            return _through_pillow(light[..., :4], "CMYK")
        if self.color == "ycbcr":
            return _through_pillow(light[..., :3], "YCbCr")
        if self.order == (0, 1, 2):
            return light[..., :3]
        return light[..., list(self.order)]


def _to_8_bits(stored: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Samples of ``bits`` bits as 0 to 255: the upper 8 of more bits; larger ones are full light.

    Cutting off gives back 8-bit samples exactly, whether they had been shifted up or stretched to the whole range.
    """
    if bits == 8 and stored.dtype == np.uint8:
        return stored
    values = np.arange(256 if stored.dtype.itemsize == 1 else 2**16)
    if bits > 8:
        light = values >> (bits - 8)
    else:
        light = values * 255 // (2**bits - 1)
    table: NDArray[np.uint8] = np.minimum(light, 255).astype(np.uint8)
    levels: NDArray[np.uint8] = table[_as_indices(stored)]
    return levels


def _as_indices(stored: NDArray[Any]) -> NDArray[Any]:
    """Samples to look up in a table."""
    # tifffile gives bool for 1-bit samples, which would select rows of the table.
    if stored.dtype == np.bool_:
        return stored.view(np.uint8)
    return stored


def _through_pillow(samples: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    height, width, _ = samples.shape
    return np.asarray(Image.frombytes(mode, (width, height), samples.tobytes()).convert("RGB"))


def _on_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool) -> NDArray[np.uint8]:
    if premultiplied:
        # In 16 bits: dishonest files hold colours brighter than their transparency allows, which would wrap.
        bright = rgb.astype(np.uint16) + (255 - alpha)[..., None]
        on_white: NDArray[np.uint8] = np.minimum(bright, 255).astype(np.uint8)
        return on_white
    layer = Image.fromarray(np.concatenate([rgb, alpha[..., None]], axis=2))
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def _lightest(palette: bytes) -> int:
    return int(np.frombuffer(palette, np.uint8).reshape(-1, 3).sum(axis=1, dtype=int).argmax())


def bits_note(bits: int, dtype_bits: int, why: str) -> str:
    """What a user should know when samples of more than 8 bits were squeezed into 8.

    Parameters
    ----------
    bits
        Bits of a sample that mean something.
    dtype_bits
        Bits that it takes in the file.
    why
        How the first number came about.
    """
    return f"{dtype_bits}-bit samples were read as {bits}-bit ones ({why}): {2**bits - 1} counts as white"
