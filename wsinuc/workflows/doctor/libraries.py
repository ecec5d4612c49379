"""Are the libraries there that read slides and decode their pixels, and are the shipped weights whole?"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wsinuc
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.segmenters import WEIGHTS
from wsinuc.workflows.doctor.findings import Finding, fail, ok, warn
from wsinuc.workflows.segment.summary import installed_version

PACKAGES = ("numpy", "numba", "scikit-image", "zarr", "dask", "pyarrow", "shapely", "orjson", "torch")
READERS = {"openslide": "openslide-python", "tiffslide": "tiffslide", "tifffile": "tifffile", "PIL": "pillow"}
"""Module and package of each library that opens files."""
SUMS = "SHA256SUMS"
_REINSTALL = "install wsinuc again in a fresh environment: pip install --force-reinstall wsinuc"


def check_versions() -> Finding:
    """Versions of Python and of the packages on which results depend."""
    missing = [name for name in PACKAGES if installed_version(name) is None]
    text = ", ".join(f"{name} {installed_version(name)}" for name in PACKAGES if name not in missing)
    head = f"wsinuc {wsinuc.__version__}, Python {platform.python_version()}, {text}"
    if missing:
        return fail("versions", f"{head}; missing: {', '.join(missing)}", _REINSTALL)
    return ok("versions", head)


def check_readers() -> Iterator[Finding]:
    """Each library that opens slides can be loaded."""
    for module, package in READERS.items():
        try:
            loaded = import_module(module)
        except Exception as error:  # a broken shared library raises whatever it likes
            yield fail(f"reader {package}", f"cannot be loaded: {error}", _REINSTALL)
            continue
        version = installed_version(package)
        if module == "openslide":
            version = f"{version}, OpenSlide {loaded.__library_version__}"
        yield ok(f"reader {package}", f"{version}")


def check_codecs() -> Iterator[Finding]:
    """Each way in which slides are compressed brings back what was put in."""
    for name, (encode, decode, tolerance) in _codecs().items():
        # A ramp without edges: JPEG changes it by a few levels only, so a larger change is a fault.
        before = np.repeat(np.arange(0, 192, dtype=np.uint8)[:, None, None], 64, axis=1).repeat(3, axis=2)
        try:
            error = int(np.abs(decode(encode(before)).astype(int) - before).max())
        except Exception as problem:  # codecs raise errors of their own, and ImportError where they were left out
            yield fail(
                f"codec {name}", f"does not work: {problem}", f"slides of this compression cannot be read; {_REINSTALL}"
            )
            continue
        if error > tolerance:
            yield fail(f"codec {name}", f"changes pixels by up to {error}", _REINSTALL)
        else:
            yield ok(f"codec {name}", "works")


def check_weights() -> Iterator[Finding]:
    """The shipped models are the files that were released."""
    sums = {}
    if (WEIGHTS / SUMS).is_file():
        lines = (WEIGHTS / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())}
    here = {path.name for path in WEIGHTS.glob("*.safetensors")}
    if not here:
        yield fail("weights", f"there are none in {WEIGHTS}", _REINSTALL)
    for name in sorted(here | sums.keys()):
        yield _check_file(name, sums.get(name), name in here)


def _check_file(name: str, released: str | None, here: bool) -> Finding:
    """One file of weights against the sum that was released."""
    title = f"weights {name.removesuffix('.safetensors')}"
    if not here:
        return fail(title, "the file is missing", _REINSTALL)
    digest = file_sha256(WEIGHTS / name)
    if released is None:
        return warn(title, f"sha256 {digest[:16]}, of which no record was shipped", _REINSTALL)
    if digest != released:
        return fail(title, f"sha256 is {digest[:16]}, expected {released[:16]}: damaged or replaced", _REINSTALL)
    return ok(title, f"sha256 {digest[:16]}, as released")


def _codecs() -> dict[str, tuple[Callable[..., Any], Callable[..., Any], int]]:
    """Encoder, decoder, and by how much a value may change."""
    import imagecodecs
    from numcodecs import Zstd

    zstd = Zstd(level=3)
    return {
        "JPEG": (lambda a: imagecodecs.jpeg8_encode(a, level=95), imagecodecs.jpeg8_decode, 16),
        "JPEG 2000": (lambda a: imagecodecs.jpeg2k_encode(a, level=0), imagecodecs.jpeg2k_decode, 0),
        "deflate": (lambda a: imagecodecs.zlib_encode(a.tobytes()), _as_image(imagecodecs.zlib_decode), 0),
        "LZW": (lambda a: imagecodecs.lzw_encode(a.tobytes()), _as_image(imagecodecs.lzw_decode), 0),
        "zstd": (lambda a: zstd.encode(a.tobytes()), _as_image(zstd.decode), 0),
    }


def _as_image(decode: Callable[..., Any]) -> Callable[[bytes], NDArray[np.uint8]]:
    return lambda content: np.frombuffer(decode(content), np.uint8).reshape(192, 64, 3)
