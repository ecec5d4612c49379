"""wsinuc: from a whole-slide image to a table of nuclei.

The names below are what most programs need; the rest is reached by module path. They are resolved on first use, so
``import wsinuc`` itself loads neither PyTorch nor anything else that is slow.

==========================================  =============================================================
**Segment**
`segment_image`, `SegmentedImage`           pixels in memory to labels and a table, without a file
`segment_slide`, `Summary`                  a slide to a folder of results
`segment_cohort`                            many slides, none of whose errors stops the others
`SegmentConfig`                             settings of both, as frozen data
`plan_segment`                              what such a run would do, without doing it
**Slides and models**
`open_slide`, `Slide`, `Box`                a slide of any vendor, or an ordinary image, and parts of it
`load_segmenter`, `Segmenter`               a shipped model by name, or a checkpoint by path
`shipped_models`                            the names of the models that come with the package
**Results**
`read`, `Result`                            a finished result: table, label images, overlays, slide
`iter_nuclei`, `read_nuclei`, `Nuclei`      the table as arrays, part by part
`verify`                                    whether every file of a result is what was written
**Measure**
`measure_regions`                           nuclei counted and measured in polygons
`map_nuclei`, `write_map`                   maps of density, shares of classes, measurements
**Other formats**
`export`                                    GeoParquet, CSV, GeoJSON, OME-Zarr, AnnData, SpatialData
`write_geojson`, `check_geojson`            nuclei for QuPath, and whether QuPath will take a file
**Classes of nuclei**
`classify`, `LearnedClasses`                classes of all nuclei of results from a few labels
**Annotated images**
`open_dataset`, `Dataset`                   annotated images of any usual layout
`evaluate`, `score`                         how well a model, or labels, agree with the annotation
`train`                                     a segmenter from annotated images
`DdpmTrainConfig`, `NetworkTrainConfig`     the settings of its methods
`adapt`, `AdaptConfig`                      a model that exists to a few annotated windows
`distill`, `DistillConfig`                  a small model of a large one, from unlabelled tissue
**Generated images**
`pretrain`                                  a denoiser from tissue, a generator from annotated images
`PretrainConfig`, `GeneratorConfig`,        the settings of its methods
`CoSynTrainConfig`, `TextTrainConfig`
`synthesize`, `SynthesisConfig`             labelled images of a generator, as a data set
**Errors**
`WsinucError`                               root of every error raised on purpose
==========================================  =============================================================

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
    from wsinuc.datasets.base import Dataset
    from wsinuc.errors import WsinucError
    from wsinuc.exports.formats.write import export
    from wsinuc.exports.qupath.check import check_geojson
    from wsinuc.exports.qupath.geojson import write_geojson
    from wsinuc.grid import Box
    from wsinuc.metrics.segmentation import score
    from wsinuc.nuclei import Nuclei, read_nuclei
    from wsinuc.results.image import SegmentedImage
    from wsinuc.results.read import Result, read
    from wsinuc.segmenters import load_segmenter, shipped_models
    from wsinuc.segmenters.base import Segmenter
    from wsinuc.slides import open_slide
    from wsinuc.slides.base import Slide
    from wsinuc.store import iter_nuclei
    from wsinuc.workflows.adapt.config import AdaptConfig
    from wsinuc.workflows.cohort.run import segment_cohort
    from wsinuc.workflows.denoiser.config import PretrainConfig
    from wsinuc.workflows.distill.config import DistillConfig
    from wsinuc.workflows.evaluate.run import evaluate
    from wsinuc.workflows.generators.config import GeneratorConfig
    from wsinuc.workflows.generators.cosyn_config import CoSynTrainConfig
    from wsinuc.workflows.generators.text_config import TextTrainConfig
    from wsinuc.workflows.maps.run import map_nuclei, write_map
    from wsinuc.workflows.methods.adapt import adapt
    from wsinuc.workflows.methods.classify import classify
    from wsinuc.workflows.methods.distill import distill
    from wsinuc.workflows.methods.learned_classes import LearnedClasses
    from wsinuc.workflows.methods.pretrain import pretrain
    from wsinuc.workflows.methods.synthesize import synthesize
    from wsinuc.workflows.methods.train import train
    from wsinuc.workflows.regions.run import measure_regions
    from wsinuc.workflows.segment.image import segment_image
    from wsinuc.workflows.segment.run import plan_segment, segment_slide
    from wsinuc.workflows.segment.summary import Summary
    from wsinuc.workflows.synthesize.config import SynthesisConfig
    from wsinuc.workflows.train.ddpm_config import DdpmTrainConfig
    from wsinuc.workflows.train.network_config import NetworkTrainConfig
    from wsinuc.workflows.verify.run import verify

__version__ = "0.2.0"

__all__ = [
    "AdaptConfig",
    "Box",
    "CoSynTrainConfig",
    "Dataset",
    "DdpmTrainConfig",
    "DistillConfig",
    "GeneratorConfig",
    "LearnedClasses",
    "NetworkTrainConfig",
    "Nuclei",
    "PretrainConfig",
    "Result",
    "SegmentConfig",
    "SegmentedImage",
    "Segmenter",
    "Slide",
    "Summary",
    "SynthesisConfig",
    "TextTrainConfig",
    "WsinucError",
    "adapt",
    "check_geojson",
    "classify",
    "distill",
    "evaluate",
    "export",
    "iter_nuclei",
    "load_segmenter",
    "map_nuclei",
    "measure_regions",
    "open_dataset",
    "open_slide",
    "plan_segment",
    "pretrain",
    "read",
    "read_nuclei",
    "score",
    "segment_cohort",
    "segment_image",
    "segment_slide",
    "shipped_models",
    "synthesize",
    "train",
    "verify",
    "write_geojson",
    "write_map",
]

_HOMES = {
    "AdaptConfig": "wsinuc.workflows.adapt.config",
    "Box": "wsinuc.grid",
    "CoSynTrainConfig": "wsinuc.workflows.generators.cosyn_config",
    "Dataset": "wsinuc.datasets.base",
    "DdpmTrainConfig": "wsinuc.workflows.train.ddpm_config",
    "DistillConfig": "wsinuc.workflows.distill.config",
    "GeneratorConfig": "wsinuc.workflows.generators.config",
    "LearnedClasses": "wsinuc.workflows.methods.learned_classes",
    "NetworkTrainConfig": "wsinuc.workflows.train.network_config",
    "Nuclei": "wsinuc.nuclei",
    "PretrainConfig": "wsinuc.workflows.denoiser.config",
    "Result": "wsinuc.results.read",
    "SegmentConfig": "wsinuc.config",
    "SegmentedImage": "wsinuc.results.image",
    "Segmenter": "wsinuc.segmenters.base",
    "Slide": "wsinuc.slides.base",
    "Summary": "wsinuc.workflows.segment.summary",
    "SynthesisConfig": "wsinuc.workflows.synthesize.config",
    "TextTrainConfig": "wsinuc.workflows.generators.text_config",
    "WsinucError": "wsinuc.errors",
    "adapt": "wsinuc.workflows.methods.adapt",
    "check_geojson": "wsinuc.exports.qupath.check",
    "classify": "wsinuc.workflows.methods.classify",
    "distill": "wsinuc.workflows.methods.distill",
    "evaluate": "wsinuc.workflows.evaluate.run",
    "export": "wsinuc.exports.formats.write",
    "iter_nuclei": "wsinuc.store",
    "load_segmenter": "wsinuc.segmenters",
    "map_nuclei": "wsinuc.workflows.maps.run",
    "measure_regions": "wsinuc.workflows.regions.run",
    "open_dataset": "wsinuc.datasets",
    "open_slide": "wsinuc.slides",
    "plan_segment": "wsinuc.workflows.segment.run",
    "pretrain": "wsinuc.workflows.methods.pretrain",
    "read": "wsinuc.results.read",
    "read_nuclei": "wsinuc.nuclei",
    "score": "wsinuc.metrics.segmentation",
    "segment_cohort": "wsinuc.workflows.cohort.run",
    "segment_image": "wsinuc.workflows.segment.image",
    "segment_slide": "wsinuc.workflows.segment.run",
    "shipped_models": "wsinuc.segmenters",
    "synthesize": "wsinuc.workflows.methods.synthesize",
    "train": "wsinuc.workflows.methods.train",
    "verify": "wsinuc.workflows.verify.run",
    "write_geojson": "wsinuc.exports.qupath.geojson",
    "write_map": "wsinuc.workflows.maps.run",
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
    """The public names alone: what completion offers."""
    return sorted([*__all__, "__version__"])
