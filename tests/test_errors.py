"""The text of an error of ours is one line of bounded length, whatever was put into it."""

from __future__ import annotations

import errno
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsinuc import errors
from wsinuc.errors import LETTERS, DataError, RemoteError, SlideError, WsinucError
from wsinuc.shown import shown

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WsinucError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_message_stays_what_it_is(kind: type[WsinucError]):
    text = "a µ.svs: expected a slide, got 3 bytes: copy it again"
    assert str(kind(text)) == text
    assert f"{kind(text)}" == text
    again = pickle.loads(pickle.dumps(kind(text)))
    assert (type(again), again.args) == (kind, (text,))


@given(st.text(max_size=3000))
def test_any_message_is_one_line_and_short(text: str):
    line = str(DataError(text))
    assert shown(line) == line
    assert len(line.splitlines()) <= 1
    assert len(line) <= LETTERS
    if len(shown(text)) <= LETTERS:
        assert line == shown(text)


def test_of_a_long_message_the_beginning_and_the_end_are_kept():
    name = "x" * 2_000_000
    line = str(SlideError(f"the file is damaged: {name}: copy it again"))
    assert line.startswith("the file is damaged: xxx")
    assert line.endswith("xxx: copy it again")
    assert " ... " in line
    assert len(line) == LETTERS


def test_what_others_say_is_put_on_one_line():
    assert str(DataError("no XML:\n\tline 3\x1b[31m")) == "no XML:\\n\\tline 3\\x1b[31m"
    assert str(RemoteError(errno.EACCES, "no\nentry")) == "[Errno 13] no\\nentry"
