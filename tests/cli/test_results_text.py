"""What ``segment`` says of its results at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsinuc_cli.commands.segment.texts import describe_use


@pytest.mark.parametrize(
    ("out", "opened"), [("s3://bucket/a.wsinuc", False), (str(Path("out", "a.wsinuc")), True)], ids=["URL", "folder"]
)
def test_only_a_result_in_a_folder_is_opened_where_it_lies(out: str, opened: bool):
    done: Any = SimpleNamespace(out=out, outputs=["report.html", "nuclei.geojson"], config={})
    text = describe_use([done])
    assert f'wsinuc.read("{out}")' in text
    assert (f"drag {out}/nuclei.geojson" in text) is opened
    assert ("copy the folder to this computer, and open its report.html" in text) is not opened
