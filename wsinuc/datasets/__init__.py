"""Annotated images to train and measure with; one layout per way that people publish them.

`open_dataset` is the only door. A layout is named in `LAYOUTS` as text and imported when it is asked for, so that
listing them costs nothing. Read `base` first: what every layout looks like from outside.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wsinuc.errors import ConfigError, DataError

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
    "images": "wsinuc.datasets.layouts.images:ImagesLayout",
}
"""Name of a layout -> "module:class", a `wsinuc.datasets.base.Layout`; recognised in this order."""


def open_dataset(
    source: Path | str,
    *,
    mpp: float | None = None,
    layout: str = "auto",
    otherwise: float | None = None,
    pixels_only: bool = False,
) -> Dataset:
    """A data set as a sequence of `LabelledImage`, read one by one when asked for.

    Parameters
    ----------
    source
        Folder of the data set, as published; ``NAME=FOLDER`` names the layout too.
    mpp
        um per pixel of all its images; None takes it from the data set, which then must record it.
    layout
        How the folder is laid out: one of `LAYOUTS`, or ``auto`` to recognise it.
    otherwise
        um per pixel of the images whose resolution is neither given by ``mpp`` nor recorded.
    pixels_only
        Whether a set without any annotation will do.

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

    named, equals, folder = str(source).partition("=")
    # A folder may really have an equals sign in its name.
    if equals and named in LAYOUTS and not Path(source).exists():
        source = folder
        layout = named
    path = Path(source)
    named_class = None
    if layout != "auto":
        named_class = _layout_class(layout)
    if not path.is_dir():
        raise DataError(f"{path} is no folder; a data set is the folder that its authors published, or one's own")
    bound = (named_class or _recognise(path))(path)
    if bound.kind == UNLABELLED and not pixels_only and bound.scan():
        raise DataError(
            f"{path} holds images without annotation, which pretrain and distill take; "
            "to learn from or to measure with, it needs labels/NAME.png or points/NAME.csv"
        )
    return Dataset.open(bound, mpp=mpp, otherwise=otherwise)


def _layout_class(name: str) -> type[Layout]:
    if name not in LAYOUTS:
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
