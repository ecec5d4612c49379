"""The documentation site: ``make docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "cli")]

# The tutorials run `wsinuc` of this environment, on the code of this checkout.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

import wsinuc  # noqa: E402  found on the path that has just been set

project = "wsinuc"
author = "The wsinuc developers"
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

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"
intersphinx_mapping: dict[str, tuple[str, None]] = {}  # the build needs no network

html_theme = "pydata_sphinx_theme"
html_title = "wsinuc"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
# Links from pages to files of the repository are checked by a test; Sphinx knows only its own pages.
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]


def escape_stars(app: object, context: object, lines: list[str]) -> None:
    """Keep the stars of ``slides/*.svs`` in the help from being taken for emphasis."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app: object) -> None:
    """Called by Sphinx."""
    for part in ("description", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", escape_stars)  # type: ignore[attr-defined]
