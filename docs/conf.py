"""The documentation site: ``make docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from myst_nb.core import render

ROOT = Path(__file__).parents[1]
HIDDEN_COLON = "\x00"
sys.path[:0] = [str(ROOT), str(ROOT / "cli")]

# The tutorials run `wsinuc` of this environment, on the code of this checkout.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

import wsinuc  # noqa: E402  found on the path that has just been set

project = "wsinuc"
author = "The wsinuc developers"
copyright = "The wsinuc developers. A research tool, not a medical device"
version = release = wsinuc.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "logs"]
root_doc = "index"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

smartquotes_action = "qe"  # dashes stay: options begin with two of them

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # names instead of what they stand for, which may be long
autodoc_type_aliases = {"NDArray": "NDArray"}  # types as they are written: NDArray[np.uint8]
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"
intersphinx_mapping: dict[str, tuple[str, None]] = {}  # the build needs no network

html_theme = "pydata_sphinx_theme"
html_title = "wsinuc"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_use_index = False  # the search finds names, and no page of the site links to an index of them
html_theme_options = {
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
# Links from pages to files of the repository are checked by a test; Sphinx knows only its own pages.
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]


def escape_stars(app: object, context: object, lines: list[str]) -> None:
    """Keep the stars of ``slides/*.svs`` in the help from being taken for emphasis."""
    lines[:] = [line.replace("*", r"\*").replace(r"\*\*Required\*\*", "**Required**") for line in lines]


def keep_examples(app: object, context: object, lines: list[str]) -> None:
    """Set what the help prints as it stands, line by line, as code: sphinx-click makes a block of lines of it."""
    kept: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if not line.startswith("| "):
            kept.append(line)
            continue
        if not before.startswith("| "):
            kept += ["", ".. code-block:: text", ""]
        kept.append("   " + line.removeprefix("| ").replace(r"\*", "*"))
    lines[:] = kept


def hide_colons(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep the colons of a field's docstring from napoleon, which takes what stands before the first for a type."""
    if what == "attribute":
        lines[:] = [line.replace(":", HIDDEN_COLON) for line in lines]


def show_colons(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Give the colons back when napoleon has been there."""
    lines[:] = [line.replace(HIDDEN_COLON, ":") for line in lines]


def join_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a cell prints as one text, progress (stderr) first; myst-nb ends each piece of it with a line break."""
    joined: list[dict[str, Any]] = []
    streams: dict[str, dict[str, Any]] = {}
    for output in outputs:
        name = output.get("name", "")
        if output["output_type"] == "stream" and name in streams:
            streams[name]["text"] += output["text"]
            continue
        if output["output_type"] == "stream":
            streams[name] = output
        joined.append(output)
    return sorted(joined, key=lambda output: output.get("name") != "stderr")


render.coalesce_streams = join_streams


def setup(app: object) -> None:
    """Called by Sphinx."""
    # Napoleon's own handler has the priority 500.
    app.connect("autodoc-process-docstring", hide_colons, priority=400)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", show_colons, priority=600)  # type: ignore[attr-defined]
    for part in ("description", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", escape_stars)  # type: ignore[attr-defined]
    app.connect("sphinx-click-process-description", keep_examples)  # type: ignore[attr-defined]
