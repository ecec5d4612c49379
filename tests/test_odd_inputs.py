"""Every odd input gives the right value, or one line that says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.odd.doors import DOORS, Gives, Refused
from helpers.odd.inputs import Row, as_text, table
from wsinuc.errors import WsinucError
from wsinuc.shown import shown
from wsinuc.slides.isolation import processes

TABLE = table()
LETTERS = 600
HOSTILE = Path(__file__).parent / "helpers" / "hostile_reader"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
@pytest.mark.timeout(120)
def test_odd_input(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if row.door == "a reader process":
        monkeypatch.syspath_prepend(str(HOSTILE))
        monkeypatch.setattr(processes, "_idle", [])
    if isinstance(row.expected, Refused):
        with pytest.raises(row.expected.error) as caught:
            row.answer(tmp_path)
        text = str(caught.value)
        assert row.expected.error is not WsinucError
        assert row.expected.says in text
        assert len(text) < LETTERS
        assert shown(text) == text
        return
    answer = row.answer(tmp_path)
    check_value(answer.value, row.expected)
    assert row.expected.says in answer.said
    assert bool(answer.said) == bool(row.expected.says)
    assert shown(answer.said) == answer.said


def check_value(found, expected: Gives) -> None:
    meant = expected.value() if callable(expected.value) else expected.value
    if isinstance(meant, np.ndarray):
        assert found.shape == meant.shape
        assert int(np.abs(found.astype(int) - meant).max()) <= expected.tolerance
    else:
        assert found == meant


def test_the_table_is_wide_and_every_row_has_a_name():
    assert len(TABLE) >= 120
    names = [row.name for row in TABLE]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert {row.door for row in TABLE} == set(DOORS)
    assert all(row.expected.says for row in TABLE if isinstance(row.expected, Refused))
    assert all("\n" not in as_text(row) for row in TABLE)
