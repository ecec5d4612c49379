"""What the tags of a TIFF image say about its samples, as a ``Dialect``; what cannot become RGB is refused by name."""

from __future__ import annotations

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from wsinuc.slides.dialect import COLOR_SAMPLES, Dialect, DialectError

_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
# Codecs that convert YCbCr on their own, whatever PhotometricInterpretation says of what they were given.
_TO_RGB = (*_JPEG, COMPRESSION.JPEG2000, COMPRESSION.WEBP, COMPRESSION.JPEGXL, COMPRESSION.JPEGXR)  # by the decoder
_MAX_EXTRA = 2  # samples behind the colour: transparency, and one that means nothing here

# PhotometricInterpretation (262); what is missing here (CIELAB, ICC, camera raw) has no plain way to RGB.
_COLORS: dict[int, str] = {
    PHOTOMETRIC.MINISWHITE: "inverted",
    PHOTOMETRIC.MINISBLACK: "grey",
    PHOTOMETRIC.RGB: "rgb",
    PHOTOMETRIC.PALETTE: "palette",
    PHOTOMETRIC.SEPARATED: "cmyk",
    PHOTOMETRIC.YCBCR: "ycbcr",
}
_ALPHA = {1: "premultiplied", 2: "straight"}  # ExtraSamples (338): associated, unassociated; 0 means nothing
_MAXIMUM = ("SMaxSampleValue", "MaxSampleValue")


def dialect_of(page: tifffile.TiffPage, name: str) -> Dialect:
    """How the samples of a TIFF image become RGB; samples of 16 bits are taken to use all of them.

    Raises
    ------
    DialectError
        The image is no 1- to 16-bit grey or colour: floating point, signed, CIELAB, camera raw, ten channels.
    """
    dtype = page.dtype
    # tifffile gives one number where all channels have the same, as in every slide.
    if isinstance(page.bitspersample, tuple):
        raise DialectError(f"{name}: channels of different depth {page.bitspersample}: convert it to 8-bit RGB")
    if dtype is None or dtype.kind not in "ub" or page.bitspersample > 16:
        kinds = {"f": "floating point", "i": "signed", "c": "complex"}
        kind = kinds.get("" if dtype is None else dtype.kind, "unsigned")
        raise DialectError(
            f"{name}: {page.bitspersample}-bit {kind} samples: expected unsigned ones of 1 to 16 bits; "
            "convert it to 8-bit RGB"
        )
    color = _COLORS.get(page.photometric)
    if color is None:
        raise DialectError(f"{name}: {_photometric(page)} pixels: expected RGB or grey; convert it to 8-bit RGB")
    count = COLOR_SAMPLES[color]
    # InkSet (332): 1 is cyan, magenta, yellow, black; others are inks that only the file's maker knows.
    if page.samplesperpixel < count or (color == "cmyk" and page.tags.valueof("InkSet", 1) != 1):
        raise DialectError(f"{name}: {_photometric(page)} with {page.samplesperpixel} channels: expected {count}")
    if page.samplesperpixel - count > (_MAX_EXTRA if count >= 3 else 1):
        raise DialectError(f"{name}: {page.samplesperpixel} channels, expected grey or RGB of a brightfield image")
    alpha = _alpha(page, count)
    return Dialect(
        color=_decoded_color(page, color, name),
        bits=page.bitspersample,
        alpha=alpha,
        extra=page.samplesperpixel - count - (alpha != "none"),
        planar=page.samplesperpixel > 1 and page.planarconfig == PLANARCONFIG.SEPARATE,
        palette=_palette(page, name) if color == "palette" else b"",
        orientation=_orientation(page),
    )


def _photometric(page: tifffile.TiffPage) -> str:
    try:
        return PHOTOMETRIC(page.photometric).name
    except ValueError:
        return f"photometric {page.photometric}"


def _decoded_color(page: tifffile.TiffPage, color: str, name: str) -> str:
    """The colours that come out of the decoder, which are not always those that went into the file."""
    # Adobe's programs store inks inverted, which a marker inside the JPEG alone says.
    if color == "cmyk" and page.compression in _JPEG:
        raise DialectError(f"{name}: CMYK in JPEG, whose inks may be inverted: convert it to 8-bit RGB")
    if color != "ycbcr":
        return color
    if page.compression in _TO_RGB:
        return "rgb"
    return color


def _alpha(page: tifffile.TiffPage, count: int) -> str:
    """The first sample behind the colour is transparency only when the file says so."""
    extra = page.extrasamples[:1]
    if extra and page.samplesperpixel > count:
        return _ALPHA.get(int(extra[0]), "none")
    return "none"


def _palette(page: tifffile.TiffPage, name: str) -> bytes:
    colors = page.colormap
    if colors is None or page.bitspersample > 8:
        raise DialectError(f"{name}: a palette image without its palette, or with one of more than 256 colours")
    colors = np.asarray(colors).T
    # ColorMap (320) has 16 bits by the standard, and 8 where a writer did not read it.
    low = colors if colors.max(initial=0) < 256 else colors >> 8
    return low.astype(np.uint8).tobytes()


def _orientation(page: tifffile.TiffPage) -> int:
    value = page.tags.valueof("Orientation", 1)
    try:
        if 1 <= int(value) <= 8:
            return int(value)
        return 1
    except (TypeError, ValueError):
        return 1


def check_decodable(page: tifffile.TiffPage, name: str) -> None:
    """Raise DialectError for YCbCr that OpenSlide reads and tifffile does not, such as subsampled outside of JPEG."""
    if page.photometric != PHOTOMETRIC.YCBCR or page.compression in _TO_RGB:
        return
    if page.is_subsampled or page.bitspersample != 8 or page.compression == COMPRESSION.APERIO_JP2000_YCBC:
        raise DialectError(f"{name}: YCbCr with fewer colours than pixels, not in JPEG: convert it to 8-bit RGB")


def stated_bits(page: tifffile.TiffPage, significant: int | None) -> tuple[int, str] | None:
    """Bits that the samples use when the file says so, and where it does; None when it does not.

    Parameters
    ----------
    significant
        ``SignificantBits`` of OME-XML. A statement that all bits are used is what writers put there without looking.
    """
    assert page.dtype is not None
    stored = page.dtype.itemsize * 8
    # In the order of trust: how many bits are stored, what OME states, and the range that some cameras' programs note.
    if page.bitspersample < stored:
        return page.bitspersample, "BitsPerSample"
    if significant is not None and 1 <= significant < stored:
        return significant, "OME SignificantBits"
    for tag in _MAXIMUM:
        value = page.tags.valueof(tag)
        if isinstance(value, tuple):
            largest = max(value)
        else:
            largest = value
        if isinstance(largest, int | float) and 1 <= largest < 2**stored - 1:
            return max(8, int(largest).bit_length()), tag
    return None
