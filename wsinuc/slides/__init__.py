"""Whole-slide images: opening them, whoever can read them.

``open_slide`` takes a path or URL and gives a ``Slide``; ``slide.at(mpp)`` gives a ``SlideView``,
which is what everything else reads from. ``choose`` says which reader opens what when none is
named. A new reader is a subclass of ``Slide`` and a line in ``READERS``. Read ``base`` first.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from wsinuc.errors import ConfigError, SlideError
from wsinuc.regular import require_regular
from wsinuc.urls import Place, PlaceLike, Url, redact, to_place

if TYPE_CHECKING:
    from pathlib import Path

    from wsinuc.slides.base import Slide

READERS = {
    "openslide": "wsinuc.slides.openslide:OpenSlideSlide",
    "tiffslide": "wsinuc.slides.tiffslide:TiffSlideSlide",
    "tiff": "wsinuc.slides.tiff.reader:TiffSlide",
    "image": "wsinuc.slides.image:ImageSlide",
}
"""Name of each reader and where its class is."""


def open_slide(path: PlaceLike, *, reader: str = "auto", mpp: float | None = None) -> Slide:
    """The slide in a file.

    Parameters
    ----------
    path
        A file, or the URL of a TIFF (``s3://bucket/slide.svs``), which is read block by block.
    reader
        ``auto`` takes the reader with the best view; or one of ``READERS``.
    mpp
        um per level-0 pixel, instead of what the file says.

    Returns
    -------
    Slide
        An open slide, to be closed or used in a ``with`` block.

    Raises
    ------
    ConfigError
        There is no such reader.
    SlideError
        The file is missing, empty, a directory, lacks the folder that it belongs to, claims what no
        file holds, or no reader can open it.
    RemoteError
        The URL cannot be reached.
    MppError
        ``mpp`` is no microscope's. (A file without a resolution opens; asking for ``Slide.mpp`` then raises.)

    Examples
    --------
    >>> import wsinuc
    >>> with wsinuc.open_slide("examples/data/CMU-1-Small-Region.svs") as slide:
    ...     print(slide.reader, slide.mpp, slide.level_shapes)
    ...     print(slide.thumbnail(size=100).shape)
    openslide 0.499 ((2967, 2220),)
    (100, 75, 3)
    """
    from wsinuc.slides.companions import check_companions, is_of_several_files
    from wsinuc.slides.tiff.reader import is_tiff

    check_reader(reader)
    path = to_place(path)
    check_slide_file(path)
    if not isinstance(path, Url):
        check_companions(path)
        if reader == "auto" and is_of_several_files(path):
            reader = "openslide"
    if not is_tiff(path):
        if reader == "auto":
            readers = tuple(READERS)
        else:
            readers = (reader,)
        return _first_that_opens(path, readers, mpp)
    if reader == "auto":
        return _open_tiff(path, mpp)
    if reader in ("openslide", "tiffslide"):
        _check_tiff(path, reader)
    return _reader_class(reader)(path, mpp=mpp)


def _open_tiff(path: Place, mpp: float | None) -> Slide:
    """The slide in a TIFF by the rules 1 and 2 of this module."""
    from wsinuc.slides.choose import sees_less
    from wsinuc.slides.dialect import DialectError, StackError
    from wsinuc.slides.tiff.directories import DirectoryError
    from wsinuc.slides.tiff.reader import survey

    try:
        overview = survey(path)
    except StackError as stack:
        return _from_its_maker(path, mpp, stack)
    except (DirectoryError, DialectError):
        raise
    except SlideError as error:  # no TIFF that tifffile understands; perhaps OpenSlide does
        if isinstance(path, Url):
            raise
        return _first_that_opens(path, ("openslide", "image"), mpp, refusals=(f"tiff: {_reason(error)}",))
    # Ventana's BIF: neighbouring tiles overlap by amounts that its XML lists, and only OpenSlide lays them right.
    if overview.header.vendor == "ventana":
        return _first_that_opens(path, ("openslide",), mpp)
    rest: tuple[str, ...]
    if overview.is_one_striped_image:
        rest = ("image", "tiff")
    else:
        rest = ("tiff", "image")
    if overview.is_vendors and overview.header.dialect == "rgb":
        rest = ("tiffslide", *rest)
    if isinstance(path, Url):
        return _first_that_opens(path, rest, mpp)
    try:
        slide = _reader_class("openslide")(path, mpp=mpp)
    except SlideError as error:
        return _first_that_opens(path, rest, mpp, refusals=(f"openslide: {_reason(error)}",))
    if sees_less(slide.header, overview.header) is None:
        return slide
    return _first_that_opens(path, rest, mpp)


def _from_its_maker(path: Place, mpp: float | None, stack: SlideError) -> Slide:
    """The slide if OpenSlide knows the scanner, and so which plane of the stack is meant; else raises ``stack``."""
    try:
        slide = _reader_class("openslide")(path, mpp=mpp)
    except SlideError:
        raise stack from None
    if slide.vendor == "generic-tiff":
        raise stack
    return slide


def _first_that_opens(
    path: Place, readers: tuple[str, ...], mpp: float | None, *, refusals: tuple[str, ...] = ()
) -> Slide:
    """The slide as the first reader that takes it sees it; ``refusals`` are those of readers asked already."""
    from wsinuc.slides.companions import hint

    if len(readers) == 1:
        return _reader_class(readers[0])(path, mpp=mpp)
    for name in readers:
        try:
            return _reader_class(name)(path, mpp=mpp)
        except SlideError as error:
            refusals = (*refusals, f"{name}: {_reason(error)}")
    kind = None if isinstance(path, Url) else hint(path)
    if kind:
        raise SlideError(f"{path.name}: {kind}")
    reasons = " ".join("; ".join(refusals).split())
    raise SlideError(f"{path.name}: no slide or image that can be read, or damaged ({reasons})")


def _check_tiff(path: Place, reader: str) -> None:
    """Raise SlideError when a TIFF claims what cannot be, or holds pixels that the reader shows wrongly."""
    from wsinuc.slides.dialect import DialectError, StackError
    from wsinuc.slides.tiff.directories import DirectoryError
    from wsinuc.slides.tiff.reader import survey

    try:
        overview = survey(path)
    except StackError as stack:
        _from_its_maker(path, None, stack).close()
        return
    except (DirectoryError, DialectError):
        raise
    except SlideError:
        # The others read directories as it was tried here.
        if reader != "openslide":
            raise
        return
    if overview.header.dialect != "rgb":
        raise SlideError(
            f"{path.name}: the reader {reader!r} would show its pixels wrongly ({overview.header.dialect}): "
            "use --reader auto or tiff"
        )


def _reason(error: SlideError) -> str:
    return redact(str(error.__cause__ or error))


def check_reader(reader: str) -> None:
    """Raise ConfigError unless ``reader`` is ``auto`` or one of ``READERS``."""
    if reader != "auto" and reader not in READERS:
        raise ConfigError(f"there is no reader {reader!r}: choose auto, {', '.join(READERS)}")


def _reader_class(name: str) -> type[Slide]:
    module, attribute = READERS[name].split(":")
    reader_class: type[Slide] = getattr(import_module(module), attribute)
    return reader_class


def check_slide_file(path: Place) -> None:
    """Look at a file before any reader does, so that the message says what is wrong with it.

    Raises
    ------
    SlideError
        It is no file, is empty or cannot be read.
    RemoteError
        The URL cannot be reached.
    """
    if isinstance(path, Url):
        if not path.size():
            raise SlideError(f"{path} is empty: the copy or upload probably failed")
        return
    if os.path.isdir(path):  # raises nothing, whatever the name
        raise SlideError(f"{path} is a directory: {_advice(path)}")
    require_regular(path, SlideError)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SlideError(f"{path} cannot be read ({error.strerror})") from error
    if empty:
        raise SlideError(f"{path} is empty: the copy or download probably failed")


def _advice(folder: Path) -> str:
    """What to name instead of a folder, by what is in it."""
    if any((folder / name).is_file() for name in (".zattrs", "zarr.json", ".zgroup")):
        return "OME-Zarr is not read as a slide, export it as OME-TIFF, for example with QuPath or Bio-Formats"
    if (folder / "summary.json").is_file():
        return "it holds a result of wsinuc, and a slide is expected"
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        return f"it cannot be looked into ({error.strerror})"
    if empty:
        return "it is empty, and a slide is expected"
    return "name the slide's file inside it"
