"""Files on object stores and web servers: a URL that behaves like a path and shows nothing that is secret.

``Url`` has what code asks of a ``Path`` (``name``, ``stem``, ``suffix``, ``/``), so that most of it need not know the
difference. Credentials come from where the store's own library looks for them (environment, profile, role); a URL may
still carry some, as ``user:password@`` or as a signature after ``?``. They are used and pickled, so that a worker can
open the same file, but ``str`` and ``repr`` leave them out, and so does every error that is raised here.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import total_ordering
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from wsinuc.arguments import came
from wsinuc.errors import ConfigError, RemoteError, WsinucError

BLOCK = 2**20
"""Bytes that one request for part of a file asks for."""
BLOCKS = 32
"""How many of those an open file keeps."""

BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Schemes whose libraries would take a password before the bucket for a part of its name, and quote it in errors."""

_PACKAGES = {
    "s3": "wsinuc[s3]",
    "s3a": "wsinuc[s3]",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
"""What fsspec needs for a scheme."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Keys are often pasted as they are, with slashes in them.
_USER = r"(?:[^\s/?'\"]*@|[^\s/?@:'\"]+:(?!\d+/)[^\s?@'\"]*@)?"
_SECRETS = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]+://){_USER}([^\s?'\"<>]*)(?:\?[^\s'\"<>]*)?")
_PARAMETERS = re.compile(r"(?i)\b(X-Amz-[\w-]+|AWSAccessKeyId|X-Goog-[\w-]+|Signature|sig|token|password)=[^\s&'\"]+")


def redact(text: str) -> str:
    """Text without what may be secret in the URLs in it: user and password, everything after ``?``, signatures.

    Examples
    --------
    >>> redact("GET https://me:pass@host/a.svs?X-Amz-Signature=1f: 403")
    'GET https://host/a.svs 403'
    """
    return _PARAMETERS.sub(r"\1=...", _SECRETS.sub(r"\1\2", text))


@total_ordering
class Url:
    """A file or folder that fsspec reaches; ``str`` gives it without credentials.

    Raises
    ------
    ConfigError
        The text is no URL, a chain of them (``simplecache::s3://...``), or a bucket's with a password in it.

    Examples
    --------
    >>> slide = Url("https://host/slides/a.svs?X-Amz-Signature=1f")
    >>> str(slide), slide.stem, str(slide.parent / "b.svs")
    ('https://host/slides/a.svs', 'a', 'https://host/slides/b.svs')
    """

    __slots__ = ("_base", "_query", "_shown")

    def __init__(self, text: str) -> None:
        if not _URL.match(text) or "::" in text:
            raise ConfigError(f"expected one URL such as s3://bucket/folder, got {redact(text)!r}")
        if not text.partition("://")[2].strip("/"):
            raise ConfigError(f"{text!r} names no bucket or server: expected a URL such as s3://bucket/folder")
        base, mark, query = text.partition("?")
        self._base = base.rstrip("/")
        self._query = mark + query
        self._shown = redact(self._base)
        if self.scheme in BUCKETS and self._shown != self._base:
            raise ConfigError(
                f"{self}: credentials for a bucket are not read from the URL: "
                "give them by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
            )

    @property
    def scheme(self) -> str:
        """What stands before ``://``."""
        return self._base.partition("://")[0]

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The name's suffix with its dot, or nothing."""
        return self._path.suffix

    @property
    def parent(self) -> Url:
        """The folder that this is in."""
        return Url(self._base.rpartition("/")[0] + self._query)

    @property
    def complete(self) -> str:
        """The URL with everything that ``str`` leaves out, for another process that opens it; never for people."""
        return self._base + self._query

    @property
    def has_query(self) -> bool:
        """Whether something follows ``?``, as in a signed URL, which is good for one file only."""
        return bool(self._query)

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self._base}/{name}{self._query}")

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Url({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self._key == other._key

    def __lt__(self, other: Url) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def filesystem(self) -> tuple[Any, str]:
        """fsspec's file system and the path in it; listings are never remembered. Raises RemoteError."""
        import fsspec

        with remote_errors(self):
            fs, path = fsspec.url_to_fs(self._base + self._query, use_listings_cache=False)
        return fs, path

    def size(self) -> int:
        """Bytes in the file; raises RemoteError when it is not there, no file, or of unknown length."""
        fs, path = self.filesystem()
        with remote_errors(self):
            info = fs.info(path)
        if info["type"] != "file" or info["size"] is None:
            raise RemoteError(f"{self} is no file of a known size: expected the URL of one file")
        return int(info["size"])

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes from ``start`` to ``stop`` (the end by default); raises RemoteError."""
        fs, path = self.filesystem()
        with remote_errors(self):
            return bytes(fs.cat_file(path, start=start, end=stop))

    def open(self) -> BinaryIO:
        """The file for reading anywhere in it, fetched block by block; its reads raise RemoteError."""
        fs, path = self.filesystem()
        with remote_errors(self):
            file = fs.open(path, "rb", block_size=BLOCK, cache_type="blockcache", cache_options={"maxblocks": BLOCKS})
        return cast(BinaryIO, _RemoteFile(file, self))

    def hide(self, text: str) -> str:
        """Text without what ``redact`` takes out, and without this URL's own secrets, wherever they stand."""
        user = self._base.removeprefix(f"{self.scheme}://").removesuffix(self._shown.removeprefix(f"{self.scheme}://"))
        values = [part.partition("=")[2] for part in self._query[1:].split("&")]
        secrets = [self._query[1:], *values, user, user[:-1].partition(":")[2]]
        # The longest first, because a shorter one may be a part of it; very short ones would blank out plain words.
        for secret in sorted({part for part in secrets if len(part) > 5}, key=len, reverse=True):
            text = text.replace(secret, "...")
        return redact(text)

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(self._shown.partition("://")[2])

    @property
    def _key(self) -> tuple[str, str]:
        return self._base, self._query


Place = Path | Url
"""Where a slide or a result lies: a path or a URL."""
PathLike = str | os.PathLike[str]
"""How a caller names a file or folder of this machine."""
PlaceLike = PathLike | Url
"""How a caller names what may lie at a URL as well."""


def to_place(where: PlaceLike) -> Place:
    """A path, or a Url for text that is one; ``file://`` is a path.

    Raises
    ------
    ConfigError
        It is neither text nor a path.

    Examples
    --------
    >>> to_place("s3://bucket/a.svs"), to_place("file:///data/a.svs").name
    (Url('s3://bucket/a.svs'), 'a.svs')
    """
    if isinstance(where, (Path, Url)):
        return where
    if not isinstance(where, str):
        where = _path_text(where)
    match = _URL.match(where)
    if match is None:
        return Path(where)
    if match[1] == "file":
        # Imported here, because every command reads this module and urllib.request brings HTTP, TLS and mail along.
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(where).path))
    return Url(where)


def to_output(where: PlaceLike) -> Place:
    """A path or a Url of what is to be written.

    Raises
    ------
    ConfigError
        It is neither text nor a path, is empty, or no name that a file can have.

    Examples
    --------
    >>> to_output("")
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: expected a path, got an empty text
    """
    # It would be the current folder; a variable that was never set is likelier.
    if where == "":
        raise ConfigError("expected a path, got an empty text")
    place = to_place(where)
    if isinstance(place, Path) and "\0" in str(place):
        raise ConfigError(f"{str(place)!r:.80} is no path: it holds a NUL character")
    return place


def to_path(where: PathLike) -> Path:
    """A path of this machine.

    Raises
    ------
    ConfigError
        It is neither text nor a path, empty, or a URL.

    Examples
    --------
    >>> to_path("out/model.safetensors").name
    'model.safetensors'
    """
    place = to_output(where)
    if isinstance(place, Url):
        raise ConfigError(f"{place} is a URL, and a file or folder of this computer is expected")
    return place


def _path_text(where: object) -> str:
    """What a path-like object stands for."""
    if isinstance(where, os.PathLike):
        text = os.fspath(where)
        if isinstance(text, str):
            return text
    raise ConfigError(f"expected a path or a URL, got {came(where)}")


@contextmanager
def remote_errors(url: Url) -> Iterator[None]:
    """Turn whatever a store's library raises into one RemoteError without credentials."""
    try:
        yield
    except (WsinucError, FileExistsError):
        raise
    # Every store's library has exceptions of its own. "from None", because the cause may quote a signed URL.
    except Exception as error:
        raise RemoteError(f"{url}: {_reason(url, error)}") from None


def _reason(url: Url, error: BaseException) -> str:
    # Of a web server that does not answer fsspec says that the file is not there, and keeps what happened as the cause.
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, OSError):
        return _reason(url, error.__cause__)
    reason = url.hide(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, ImportError):
        package = _PACKAGES.get(url.scheme)
        advice = f"pip install '{package}'" if package else reason
        return f"reading or writing {url.scheme}:// needs another package: {advice}"
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket, folder or file ({reason})"
    if isinstance(error, PermissionError):
        return f"no permission ({reason}): check the credentials in the environment or profile, and the bucket's policy"
    return f"cannot be reached or refuses ({reason}): check the network, the endpoint and the credentials"


class _RemoteFile(io.RawIOBase):
    """An fsspec file whose failures say which URL, and can be told from damage in what was read."""

    def __init__(self, file: Any, url: Url) -> None:
        super().__init__()
        self._file = file
        self._url = url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with remote_errors(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with remote_errors(self._url):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
