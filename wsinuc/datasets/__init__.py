"""Annotated images to train and measure with; one layout per way that people publish them.

`open_dataset` is the only door. A layout is named in `LAYOUTS` as text and imported when it is asked for, so that
listing them costs nothing. Read `base` first: what every layout looks like from outside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc.arguments import came
from wsinuc.errors import ConfigError, DataError
from wsinuc.urls import PathLike, to_path

if TYPE_CHECKING:
    from wsinuc.datasets.base import Dataset, Layout

LAYOUTS = {
    "pannuke": "wsinuc.datasets.layouts.pannuke:PanNukeLayout",
    "kumar": "wsinuc.datasets.layouts.aperio:KumarLayout",
    "monuseg": "wsinuc.datasets.layouts.aperio:MoNuSegLayout",
    "consep": "wsinuc.datasets.layouts.mat:ConsepLayout",
    "consep-grouped": "wsinuc.datasets.layouts.mat:GroupedConsepLayout",
    "lizard": "wsinuc.datasets.layouts.mat:LizardLayout",
    "cpm": "wsinuc.datasets.layouts.mat:CpmLayout",
    "nuinsseg": "wsinuc.datasets.layouts.nuinsseg:NuInsSegLayout",
    "tnbc": "wsinuc.datasets.layouts.masks:TnbcLayout",
    "dsb2018": "wsinuc.datasets.layouts.masks:Dsb2018Layout",
    "glas": "wsinuc.datasets.layouts.glas:GlasLayout",
    "points": "wsinuc.datasets.layouts.point_folder:PointFolderLayout",
    "nucls": "wsinuc.datasets.layouts.points:NuclsLayout",
    "endonuke": "wsinuc.datasets.layouts.points:EndoNukeLayout",
    "folder": "wsinuc.datasets.layouts.folder:FolderLayout",
    "corrected": "wsinuc.datasets.layouts.corrected:CorrectedLayout",
    "qupath": "wsinuc.datasets.layouts.qupath:QuPathLayout",
    "images": "wsinuc.datasets.layouts.images:ImagesLayout",
}
"""Name of a layout -> "module:class", a `wsinuc.datasets.base.Layout`; recognised in this order."""
_TABLE = ".csv"
"""Ending of a table of slides."""


def open_dataset(
    source: PathLike,
    *,
    mpp: float | None = None,
    annotations: PathLike | None = None,
    layout: str = "auto",
    otherwise: float | None = None,
    pixels_only: bool = False,
    regions: str | None = None,
) -> Dataset:
    """A data set as a sequence of `LabelledImage`, read one by one when asked for.

    Parameters
    ----------
    source
        Folder of the data set, as published; ``NAME=FOLDER`` names the layout too. Or a slide with QuPath's annotations
        beside it, ``SLIDE=FILE.geojson``, or a table of both; see `wsinuc.datasets.layouts.qupath`.
    mpp
        um per pixel of all its images; None takes it from the data set, which then must record it.
    annotations
        File of the annotations of a slide, as ``SLIDE=FILE`` names it; None looks beside the slide.
    layout
        How the folder is laid out: one of `LAYOUTS`, or ``auto`` to recognise it.
    otherwise
        um per pixel of the images whose resolution is neither given by ``mpp`` nor recorded.
    pixels_only
        Whether a set without any annotation will do.
    regions
        Class or name of the regions that are annotated on slides, as a pattern; None is ``Region*``. Other sets have
        no regions.

    Returns
    -------
    Dataset
        A sequence whose items are read when they are asked for, each with ``image``, ``labels``, ``classes`` and
        ``mpp``; ``where`` and slices give a part of it.

    Raises
    ------
    ConfigError
        There is no such layout.
    DataError
        The folder is not laid out as expected, or has no annotation and ``pixels_only`` is False.
    MppError
        The resolution is neither given nor recorded.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import wsinuc
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> labels = np.zeros((64, 64), np.uint16)
    >>> labels[10:20, 10:20] = 1
    >>> labels[30:45, 30:45] = 2
    >>> for name, pixels in (("images", np.full((64, 64, 3), 230, np.uint8)), ("labels", labels)):
    ...     (folder / name).mkdir()
    ...     Image.fromarray(pixels).save(folder / name / "field.png")
    >>> dataset = wsinuc.open_dataset(folder, mpp=0.25)
    >>> dataset.names, dataset[0].image.shape, int(dataset[0].labels.max())
    (('field',), (64, 64, 3), 2)
    """
    from wsinuc.datasets.base import UNLABELLED, Dataset

    asked = _annotated(_parse(_text_of(source), layout), annotations)
    named_class = None
    if asked.layout != "auto":
        named_class = _layout_class(asked.layout)
    if not asked.path.is_dir():
        named_class = _layout_of_file(asked)
    bound = _bind(named_class or _recognise(asked.path), asked, regions, mpp, otherwise)
    if bound.kind == UNLABELLED and not pixels_only and bound.scan():
        raise DataError(bound.unlabelled())
    return Dataset.open(bound, mpp=mpp, otherwise=otherwise)


def _text_of(source: PathLike) -> str:
    """How a data set is named, as text."""
    if not isinstance(source, (str, os.PathLike)):
        raise ConfigError(f"expected the folder of a data set, got {came(source)}")
    text = os.fspath(source)
    # It would be the current folder; a variable that was never set is likelier.
    if not text:
        raise ConfigError("expected the folder of a data set, got an empty text")
    return text


def is_named(source: PathLike) -> bool:
    """Whether a source says that it is a data set: ``NAME=PATH``, ``SLIDE=ANNOTATIONS``, or a table of slides."""
    asked = _parse(source, "auto")
    return asked.layout != "auto" or asked.annotations is not None or asked.path.suffix.lower() == _TABLE


def layout_of(source: PathLike) -> str | None:
    """Name of the layout that a folder has, judged by names of files alone; None for no data set."""
    try:
        return _recognise(_parse(source, "auto").path).name
    except DataError:
        return None


@dataclass(frozen=True, slots=True)
class _Source:
    """A data set as a user names it."""

    path: Path
    layout: str
    annotations: Path | None
    """Of a slide, where they are named."""


def _annotated(asked: _Source, annotations: PathLike | None) -> _Source:
    """A source with the file of its annotations, where one is given; raises ConfigError for what is no one slide."""
    if annotations is None:
        return asked
    is_table = asked.path.suffix.lower() == _TABLE
    # A result is a folder, too, whose nuclei somebody has corrected.
    if is_table or (asked.path.is_dir() and not (asked.path / "summary.json").is_file()):
        raise ConfigError(f"annotations are those of one slide, and {asked.path} is none: give the slide's file")
    return replace(asked, annotations=to_path(annotations))


def _parse(source: PathLike, layout: str) -> _Source:
    """The parts of ``NAME=PATH``, ``SLIDE=ANNOTATIONS``, both, or a path alone."""
    text = os.fspath(source)
    named, equals, rest = text.partition("=")
    # A folder may really have an equals sign in its name.
    if equals and named in LAYOUTS and not Path(text).exists():
        text = rest
        layout = named
    slide, equals, annotations = text.rpartition("=")
    if equals and not Path(text).exists():
        return _Source(Path(slide), layout, Path(annotations))
    return _Source(Path(text), layout, None)


def _layout_of_file(asked: _Source) -> type[Layout]:
    """The layout of what is no folder; raises DataError where no data set is one."""
    qupath = _layout_class("qupath")
    path = asked.path
    if not path.is_file():
        raise DataError(f"{path} is no folder; a data set is the folder that its authors published, or one's own")
    if asked.layout not in ("auto", "qupath"):
        raise DataError(f"{path} is no folder, which the layout {asked.layout} needs: {qupath.expected} is qupath")
    if asked.layout == "auto" and asked.annotations is None and not qupath.recognises(path):
        raise DataError(
            f"{path} is no folder, and has no annotations beside it; a data set is the folder that its authors "
            f"published, or one's own, or {qupath.expected}; or name the file: {path.name}=FILE.geojson"
        )
    return qupath


def _bind(
    layout: type[Layout], asked: _Source, regions: str | None, mpp: float | None, otherwise: float | None
) -> Layout:
    """The layout of one data set."""
    from wsinuc.datasets.layouts.qupath import QuPathLayout
    from wsinuc.datasets.layouts.qupath_objects import REGION

    if issubclass(layout, QuPathLayout):
        return layout(
            asked.path, annotations=asked.annotations, regions=regions or REGION, mpp=mpp, otherwise=otherwise
        )
    return layout(asked.path)


def _layout_class(name: str) -> type[Layout]:
    if not isinstance(name, str) or name not in LAYOUTS:
        raise ConfigError(f"no data set layout is called {name!r}; there are: {', '.join(sorted(LAYOUTS))}")
    module, attribute = LAYOUTS[name].split(":")
    layout_class: type[Layout] = getattr(import_module(module), attribute)
    return layout_class


def _recognise(path: Path) -> type[Layout]:
    from wsinuc.datasets.base import contents

    for name in LAYOUTS:
        candidate = _layout_class(name)
        if candidate.recognises(path):
            return candidate
    raise DataError(
        f"{path} has the layout of no data set known here ({', '.join(LAYOUTS)}); it holds {contents(path)}. "
        f"One's own data needs {_layout_class('folder').expected}"
    )
