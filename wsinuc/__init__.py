"""wsinuc: from a whole-slide image to a table of nuclei.

The names below are what most programs need; the rest is reached by module path. They are resolved on first use, so
``import wsinuc`` itself loads neither PyTorch nor anything else that is slow.

==================================  =====================================================================
`open_slide`                        a slide of any vendor, or an ordinary image, as a ``Slide``
`segment_slide`, `SegmentConfig`    the whole job: slide in, folder of results out, settings as frozen data
`plan_segment`                      what that job would do, without doing it
`load_segmenter`                    a shipped model by name, or a checkpoint by path
`iter_nuclei`, `read_nuclei`        the table of nuclei of a result part by part in the order of ids; one part by path
`Nuclei`                            the table itself: a struct of arrays
`verify`                            whether every file of a result is what was written
`read`, `Result`                    a finished result as an object: table, label images, slide
`export`                            a result in another format: GeoParquet, CSV, GeoJSON
`write_geojson`, `check_geojson`    nuclei for QuPath, and whether QuPath will take a file
`open_dataset`, `score`             annotated images, and how well labels agree with them
`WsinucError`                       root of every error raised on purpose
==================================  =====================================================================

Where things live: ``slides`` read pixels at a wanted resolution; ``segmenters`` turn pixels into instances and
``models`` are their networks; ``pipeline`` runs blocks; ``store`` is what a result looks like on disk; ``render`` and
``exports`` are views of it; ``workflows`` are the commands without their options. ARCHITECTURE.md has the whole map.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from wsinuc.renamed import MovedModules

if TYPE_CHECKING:
    from wsinuc.config import SegmentConfig
    from wsinuc.datasets import open_dataset
    from wsinuc.errors import WsinucError
    from wsinuc.exports.formats.write import export
    from wsinuc.exports.qupath.check import check_geojson
    from wsinuc.exports.qupath.geojson import write_geojson
    from wsinuc.metrics.segmentation import score
    from wsinuc.nuclei import Nuclei, read_nuclei
    from wsinuc.results.read import Result, read
    from wsinuc.segmenters import load_segmenter
    from wsinuc.slides import open_slide
    from wsinuc.store import iter_nuclei
    from wsinuc.workflows.segment.run import plan_segment, segment_slide
    from wsinuc.workflows.verify.run import verify

__version__ = "0.2.0"

__all__ = [
    "Nuclei",
    "Result",
    "SegmentConfig",
    "WsinucError",
    "check_geojson",
    "export",
    "iter_nuclei",
    "load_segmenter",
    "open_dataset",
    "open_slide",
    "plan_segment",
    "read",
    "read_nuclei",
    "score",
    "segment_slide",
    "verify",
    "write_geojson",
]

_HOMES = {
    "Nuclei": "wsinuc.nuclei",
    "Result": "wsinuc.results.read",
    "SegmentConfig": "wsinuc.config",
    "WsinucError": "wsinuc.errors",
    "check_geojson": "wsinuc.exports.qupath.check",
    "export": "wsinuc.exports.formats.write",
    "iter_nuclei": "wsinuc.store",
    "load_segmenter": "wsinuc.segmenters",
    "open_dataset": "wsinuc.datasets",
    "open_slide": "wsinuc.slides",
    "plan_segment": "wsinuc.workflows.segment.run",
    "read": "wsinuc.results.read",
    "read_nuclei": "wsinuc.nuclei",
    "score": "wsinuc.metrics.segmentation",
    "segment_slide": "wsinuc.workflows.segment.run",
    "verify": "wsinuc.workflows.verify.run",
    "write_geojson": "wsinuc.exports.qupath.geojson",
}

sys.meta_path.append(MovedModules())


def __getattr__(name: str) -> object:
    """A public name, imported from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'wsinuc' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
