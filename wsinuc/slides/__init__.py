"""Whole-slide images: opening them, whoever can read them.

``open_slide`` gives a ``Slide``; ``slide.at(mpp)`` gives a ``SlideView``, which is what everything else reads from.
A new reader is a subclass of ``Slide`` and a line in ``READERS``.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from wsinuc.errors import ConfigError, SlideError
from wsinuc.regular import require_regular
from wsinuc.urls import Place, Url, place, redact

if TYPE_CHECKING:
    from wsinuc.slides.base import Slide

READERS = {
    "openslide": "wsinuc.slides.openslide:OpenSlideSlide",
    "tiffslide": "wsinuc.slides.tiffslide:TiffSlideSlide",
    "image": "wsinuc.slides.image:ImageSlide",
}
"""Name of each reader and where its class is, in the order in which ``auto`` tries them."""


def open_slide(path: str | Place, *, reader: str = "auto", mpp: float | None = None) -> Slide:
    """The slide in a file.

    Parameters
    ----------
    path
        A file, or the URL of a TIFF (``s3://bucket/slide.svs``), which tiffslide reads block by block.
    reader
        ``auto`` tries every reader in turn; or one of ``READERS``.
    mpp
        um per level-0 pixel, instead of what the file says.

    Raises
    ------
    ConfigError
        There is no such reader.
    SlideError
        The file is missing, empty, a directory, or no reader can open it.
    RemoteError
        The URL cannot be reached.
    MppError
        ``mpp`` is no microscope's. (A file without a resolution opens; asking for ``Slide.mpp`` then raises.)
    """
    check_reader(reader)
    path = place(path)
    check_slide_file(path)
    if reader != "auto":
        return _reader_class(reader)(path, mpp=mpp)
    refusals = []
    for name in READERS:
        try:
            return _reader_class(name)(path, mpp=mpp)
        except SlideError as error:
            refusals.append(f"{name}: {redact(str(error.__cause__ or error))}")
    said = " ".join("; ".join(refusals).split())
    raise SlideError(f"{path.name}: no slide or image that can be read, or damaged ({said})")


def check_reader(reader: str) -> None:
    """Raise ConfigError unless ``reader`` is ``auto`` or one of ``READERS``."""
    if reader != "auto" and reader not in READERS:
        raise ConfigError(f"there is no reader {reader!r}: choose auto, {', '.join(READERS)}")


def _reader_class(name: str) -> type[Slide]:
    module, attribute = READERS[name].split(":")
    return getattr(import_module(module), attribute)


def check_slide_file(path: Place) -> None:
    """Raise SlideError for what is no file, is empty or cannot be read; RemoteError for a URL that cannot be reached."""
    if isinstance(path, Url):
        if not path.size():
            raise SlideError(f"{path} is empty: the copy or upload probably failed")
        return
    if os.path.isdir(path):  # raises nothing, whatever the name
        raise SlideError(f"{path} is a directory: name the slide's file inside it")
    require_regular(path, SlideError)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SlideError(f"{path} cannot be read ({error.strerror})") from error
    if empty:
        raise SlideError(f"{path} is empty: the copy or download probably failed")
