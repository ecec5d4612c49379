"""Defaults as the help of a training states them, from a file.

The configs stand beside networks, and PyTorch, which networks import, takes more than a second. Help
must not wait for that. So `wsinuc_cli.config_defaults` writes what the configs say into a file, this
module reads it, and a test compares the two.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")


@functools.cache
def stated_defaults() -> dict[str, dict[str, str]]:
    """Command -> option -> the text in brackets behind its help."""
    content: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return content
