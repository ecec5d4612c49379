"""A slide: levels of RGB pixels in a file, read box by box, whatever library decodes them.

A reader says what is in the file (``_describe``), opens it (``_open``) and decodes a box that lies inside one level
(``_decode``). All that readers have in common is here: white outside the slide, one handle shared by many threads and
replaced when it breaks, pickling by path, the resolution, the choice of a level.

A handle that failed once is not trusted again: OpenSlide remembers its first error and fails every later read, also of
intact regions. So a failed read throws the handle away and the next read, of whichever thread, opens a fresh one. Old
handles close when their last reader lets go of them.
"""

from __future__ import annotations

import copy
import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wsinuc import arguments
from wsinuc.errors import ConfigError, MppError, ReadError, RemoteError, SlideError
from wsinuc.grid import Box, check_box
from wsinuc.slides.levels import level_downsamples, shrunk_alike
from wsinuc.slides.resolution import check_given_mpp, resolve_mpp
from wsinuc.urls import Place, Url, redact

if TYPE_CHECKING:
    from wsinuc.slides.view import SlideView

WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideHeader:
    """What a reader learns of a file without decoding its pixels."""

    level_shapes: tuple[tuple[int, int], ...]
    """(height, width) of every level in its own pixels, the finest first."""
    vendor: str = "unknown"
    mpp_yx: tuple[float, float] | None = None
    """um per level-0 pixel as the file has it, unchecked."""
    mpp_source: str = "none"
    """Which field of the file ``mpp_yx`` is from."""
    objective_power: float | None = None
    bounds: Box | None = None
    """The scanned part in level-0 pixels, when the file names one."""
    associated: tuple[str, ...] = ()
    """Names of associated images: label, macro, thumbnail."""
    dialect: str = "rgb"
    """How stored samples became RGB, where that was not plain; a run continues only with the same."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the pixels were read."""
    properties: Mapping[str, str] = field(default_factory=dict)


class Slide(ABC):
    """An open slide, as `wsinuc.open_slide` gives it.

    It is safe to share between threads. It pickles as its path and reopens in another process, also in one that was
    forked.

    Parameters
    ----------
    path
        The file or its URL, or None for pixels in memory.
    mpp
        um per level-0 pixel given by the user, instead of what the file says.

    Examples
    --------
    >>> import wsinuc
    >>> with wsinuc.open_slide("examples/data/CMU-1-Small-Region.svs") as slide:
    ...     pixels = slide.read(wsinuc.Box(900, 300, 1000, 500))
    ...     coarse = slide.at(2.0).read(wsinuc.Box(0, 0, 64, 64))
    >>> isinstance(slide, wsinuc.Slide), pixels.shape, coarse.shape
    (True, (100, 200, 3), (64, 64, 3))
    """

    reader: ClassVar[str]

    def __init__(self, path: Place | None, *, mpp: float | None = None) -> None:
        self.path = path
        self.given_mpp = None
        if mpp is not None:
            self.given_mpp = check_given_mpp(mpp)
        self._handle: Any = None
        self._process = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        try:
            self.header = self._describe()
        except (SlideError, RemoteError):
            raise
        except Exception as error:  # damaged metadata: decoders raise key, value, type, struct and assertion errors
            raise self._cannot_open(error) from error
        self.level_downsamples = level_downsamples(self.level_shapes)

    @abstractmethod
    def _open(self) -> Any:
        """A fresh handle for ``_decode``; raises anything when it cannot."""

    @abstractmethod
    def _describe(self) -> SlideHeader:
        """What the file says about itself; may use ``_acquire``; raises anything when it cannot."""

    @abstractmethod
    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        """RGB (h, w, 3) of a box inside the level; raises anything when it cannot."""

    @property
    def name(self) -> str:
        """What error messages call this slide."""
        if self.path is None:
            return "the image in memory"
        return self.path.name

    @property
    def vendor(self) -> str:
        """Format or maker, as the reader names it."""
        return self.header.vendor

    @property
    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of every level in its own pixels, the finest first."""
        return self.header.level_shapes

    @property
    def bounds(self) -> Box | None:
        """The scanned part in level-0 pixels, when the file names one."""
        return self.header.bounds

    @property
    def properties(self) -> Mapping[str, str]:
        """Everything that the file says, as text."""
        return self.header.properties

    @property
    def origin(self) -> tuple[int, int]:
        """(y, x) in level-0 pixels of the corner of the image that QuPath shows by default."""
        if self.bounds is None:
            return (0, 0)
        return (self.bounds.y0, self.bounds.x0)

    @property
    def file_mpp(self) -> float | None:
        """um per level-0 pixel as the file has it, unchecked (geometric mean of y and x)."""
        if self.header.mpp_yx is None:
            return None
        return math.sqrt(math.prod(self.header.mpp_yx))

    @property
    def mpp(self) -> float:
        """um per level-0 pixel: the user's word, else the file's.

        Raises
        ------
        MppError
            There is neither, or the file's cannot be believed.
        """
        if self.given_mpp is not None:
            return self.given_mpp
        return resolve_mpp(self.header.mpp_yx, self.header.mpp_source, self.name)

    def require_mpp(self) -> None:
        """Raise MppError, which says what to do, when the resolution is unknown: before hours of work."""
        _ = self.mpp

    def read(self, box: Box, level: int = 0) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of a box in the level's own pixels; white outside the slide.

        Parameters
        ----------
        box
            Of whole numbers; it may reach beyond the slide.
        level
            0 is the finest.

        Raises
        ------
        ConfigError
            It is no box of whole numbers, or there is no such level.
        ReadError
            A part of the box cannot be decoded.
        """
        check_box(box)
        extent = Box.of_shape(self.level_shapes[self._checked(level)])
        # The usual case, without a second array of the box's size.
        if box.overlaps(extent) and box.clip(extent) == box:
            return self._read_inside(box, level)
        pixels = np.full((*box.shape, 3), WHITE, np.uint8)
        if box.overlaps(extent):
            inside = box.clip(extent)
            pixels[inside.relative_to(box).slices] = self._read_inside(inside, level)
        return pixels

    def at(self, mpp: float, tolerance: float = 0.05) -> SlideView:
        """The slide at (about) ``mpp`` um per pixel.

        A level within ``tolerance`` (relative) is read as it is, so the view's own ``mpp`` may differ by that much;
        otherwise the coarsest level that is still finer is resampled to exactly ``mpp``.

        Parameters
        ----------
        mpp
            um per pixel.
        tolerance
            Relative difference up to which a level is taken as it is, 0 to 1.

        Returns
        -------
        SlideView
            ``read(box)`` gives RGB of a box in pixels of this resolution; ``shape`` is the slide's size in them.

        Raises
        ------
        MppError
            ``mpp`` is no number above 0, or the slide's own is unknown.
        """
        if not 0 < arguments.number("mpp", mpp, MppError) < math.inf:
            raise MppError(f"mpp must be above 0 um per pixel, got {mpp:g}")
        # Takes a compiler and Arrow, which reader processes do without.
        from wsinuc.slides.view import SlideView

        # Where a level's last row was cut off, the geometric mean keeps areas right.
        alike = [i for i, (y, x) in enumerate(self.level_downsamples) if shrunk_alike(y, x)]
        level_mpp = {i: self.mpp * math.sqrt(math.prod(self.level_downsamples[i])) for i in alike}
        nearest = min(level_mpp, key=lambda i: abs(level_mpp[i] / mpp - 1.0))
        if abs(level_mpp[nearest] / mpp - 1.0) <= tolerance:
            return SlideView(self, nearest, 1.0, level_mpp[nearest])
        # Shrinking loses nothing but detail; enlarging a coarser level would invent it.
        finer = [i for i, value in level_mpp.items() if value <= mpp]
        level = max(finer, key=lambda i: level_mpp[i], default=0)
        return SlideView(self, level, mpp / level_mpp[level], mpp)

    def thumbnail(self, size: int = 1024) -> NDArray[np.uint8]:
        """The whole slide as RGB ``(h, w, 3)``, made of its own pixels.

        Parameters
        ----------
        size
            Pixels of the longer side, at most.

        Raises
        ------
        ConfigError
            ``size`` is no whole number above 0.
        ReadError
            A part of the slide cannot be decoded.
        """
        from wsinuc.slides.scaled import read_scaled

        size = arguments.whole_number("size", size, least=1)

        side = max(self.level_shapes[0])
        alike = [i for i, (y, x) in enumerate(self.level_downsamples) if shrunk_alike(y, x)]
        level = [i for i in alike if max(self.level_shapes[i]) >= min(size, side)][-1]
        height, width = self.level_shapes[level]
        scale = max(1.0, max(height, width) / size)
        return read_scaled(self, level, scale, Box(0, 0, max(1, round(height / scale)), max(1, round(width / scale))))

    def duplicate(self) -> Self:
        """A second slide on the same file with a handle of its own, which no other thread's failed read can spoil."""
        return copy.copy(self)

    def close(self) -> None:
        """Let go of the file; later reads raise SlideError."""
        with self._lock:
            self._handle = None
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_handle", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _handle=None, _lock=threading.Lock(), _process=os.getpid())

    def __repr__(self) -> str:
        height, width = self.level_shapes[0]
        return f"<{self.reader} slide {self.name}: {height} x {width} px, {len(self.level_shapes)} levels>"

    def _checked(self, level: int) -> int:
        """A level that there is."""
        if arguments.whole_number("level", level, least=0) >= len(self.level_shapes):
            raise ConfigError(f"{self.name} has the levels 0 to {len(self.level_shapes) - 1}, got {level}")
        return level

    def _read_inside(self, box: Box, level: int) -> NDArray[np.uint8]:
        handle = self._acquire()
        try:
            return self._decode(handle, box, level)
        except MemoryError:  # says nothing of the file, and white pixels instead would lose nuclei
            raise
        except RemoteError:  # the store failed, not the file: to take the box for white would lose nuclei
            self._discard(handle)
            raise
        except Exception as error:  # decoders raise whatever they like: struct, zlib, codec and OS errors
            self._discard(handle)
            raise ReadError(
                f"{self.name}: cannot decode rows {box.y0}-{box.y1}, columns {box.x0}-{box.x1} of level {level} "
                f"({one_line(error)}): the file is probably damaged or incomplete"
            ) from error

    def _acquire(self) -> Any:
        with self._lock:
            if self._closed:
                raise SlideError(f"{self.name} was closed: open it again")
            # A process that was forked, such as a worker of a DataLoader, would move its parent's place in the file.
            if self._process != os.getpid():
                self._handle = None
                self._process = os.getpid()
            if self._handle is None:
                try:
                    self._handle = self._open()
                except (SlideError, RemoteError):
                    raise
                except Exception as error:
                    raise self._cannot_open(error) from error
            return self._handle

    def _cannot_open(self, error: Exception) -> SlideError:
        return SlideError(f"{self.name}: the reader {self.reader!r} cannot open it ({one_line(error)})")

    def _discard(self, handle: Any) -> None:
        """Drop the handle unless another thread has replaced it already."""
        with self._lock:
            if self._handle is handle:
                self._handle = None


def local_file(place: Place | None) -> Path:
    """The path, for a library that reads local files only.

    Raises
    ------
    SlideError
        The place is a URL.
    """
    if isinstance(place, Url):
        raise SlideError(
            f"{place.name}: this reader needs a local file: copy it, or use a TIFF, which wsinuc reads from where it is"
        )
    assert place is not None
    return place


def one_line(error: BaseException) -> str:
    """What another library's error says, on one line and without secrets; its kind when it says nothing."""
    return redact(" ".join(str(error).split())) or type(error).__name__


def bounds_from_properties(properties: Mapping[str, str], prefix: str) -> Box | None:
    """The scanned part in level-0 pixels when all four ``<prefix>.bounds-*`` are there."""
    try:
        y, x, height, width = (int(properties[f"{prefix}.bounds-{key}"]) for key in ("y", "x", "height", "width"))
    except (KeyError, ValueError):
        return None
    if height > 0 and width > 0:
        return Box(y, x, y + height, x + width)
    return None


def power_from_properties(properties: Mapping[str, str], prefix: str) -> float | None:
    """Objective power as a number, when the file names one."""
    try:
        return float(properties[f"{prefix}.objective-power"])
    except (KeyError, ValueError):
        return None
