"""URLs that behave like paths, and that never show what is secret in them."""

from __future__ import annotations

import copy
import pickle
import socket
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsinuc.errors import ConfigError, RemoteError
from wsinuc.urls import Url, redact, remote_errors, to_place

NAMES = st.text("abcXYZ019-_. @+=", min_size=1, max_size=12).filter(lambda name: name.strip(". ") == name)
SECRETS = st.text("abcdefgXYZ0123456789+=-_%", min_size=8, max_size=40)


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(NAMES, min_size=1, max_size=4), name=NAMES)
def test_names_are_those_of_a_path(parts: list[str], name: str) -> None:
    url = Url("s3://bucket/" + "/".join(parts).replace("@", "a"))
    path = PurePosixPath("bucket", *(part.replace("@", "a") for part in parts))
    assert (url.name, url.stem, url.suffix) == (path.name, path.stem, path.suffix)
    child = name.replace("@", "a")
    assert str(url / child) == f"{url}/{child}"
    assert (url / child).parent == url
    assert len({url, Url(str(url))}) == 1


@settings(max_examples=30, deadline=None)
@given(secret=SECRETS)
def test_secrets_show_nowhere(secret: str) -> None:
    for text in (f"https://me:{secret}@host/a.svs", f"https://host/a.svs?X-Amz-Signature={secret}&b=1"):
        url = Url(text)
        shown = [str(url), repr(url), url.name, redact(f"GET {text} failed"), url.hide(f"bad signature {secret}")]
        assert secret not in " ".join(shown)
        assert (url.name, url.suffix) == ("a.svs", ".svs")
        with pytest.raises(RemoteError) as caught, remote_errors(url):
            raise OSError(f"no answer from {text} with {secret}")
        assert secret not in str(caught.value)
        assert caught.value.__suppress_context__
        assert pickle.loads(pickle.dumps(url)) == copy.deepcopy(url) == url  # a worker can open it, too


@pytest.mark.parametrize(
    "text", ["simplecache::s3://bucket/a", "bucket/a", "s3://", "s3:///", "s3://KEYKEY:sec/ret@bucket/a"]
)
def test_what_is_no_plain_url_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Url(text)
    assert "sec/ret" not in str(caught.value)


def test_paths_stay_paths() -> None:
    assert to_place("slides/a.svs") == Path("slides/a.svs")
    assert to_place("C:\\slides\\a.svs") == Path("C:\\slides\\a.svs")
    assert to_place("file:///data/a%20b.svs") == Path("/data/a b.svs")
    assert to_place(Path("a")) == Path("a")
    assert redact("http://localhost:9000/a@b.svs") == "http://localhost:9000/a@b.svs"


def test_a_file_is_read_anywhere() -> None:
    url, data = Url("memory://folder/a.bin"), bytes(range(256)) * 10
    fsspec.filesystem("memory").pipe_file("/folder/a.bin", data)
    assert (url.size(), url.read(), url.read(5, 9)) == (len(data), data, data[5:9])
    with url.open() as file:
        file.seek(-3, 2)
        assert (file.tell(), file.read()) == (len(data) - 3, data[-3:])
    with pytest.raises(RemoteError, match="memory://folder/none: there is no such"):
        Url("memory://folder/none").size()


def test_a_missing_package_is_named() -> None:
    with pytest.raises(RemoteError, match=r"pip install 'wsinuc\[s3\]'"), remote_errors(Url("s3://bucket/a")):
        raise ImportError("Install s3fs")
    with (
        pytest.raises(RemoteError, match=r"needs another package: pip install 'gcsfs'$"),
        remote_errors(Url("gs://b/a")),
    ):
        raise ImportError("Please install gcsfs to access Google Storage")


def test_a_server_that_does_not_answer_is_not_a_file_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = Url(f"http://127.0.0.1:{unused.getsockname()[1]}/a.svs")
    with pytest.raises(RemoteError, match=r"cannot be reached or refuses .*onnect"):
        url.size()
