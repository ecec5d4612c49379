"""Modules that have moved: an import by the name of version 0.1 still works, with a warning.

``wsinuc`` adds `MovedModules` to the end of ``sys.meta_path``, where Python asks it only for what nobody else finds,
so that nothing here costs an ordinary import anything. Kept for one version; this file goes when 0.3.0 is made.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER_PACKAGE = "wsinuc.tasks"
MODULES = {
    "datasets.aperio": "datasets.layouts.aperio",
    "datasets.augment": "datasets.augmentation.augment",
    "datasets.compaction": "datasets.augmentation.compaction",
    "datasets.counterstain": "datasets.augmentation.counterstain",
    "datasets.crops": "datasets.sampling.crops",
    "datasets.crowding": "datasets.augmentation.crowding",
    "datasets.folder": "datasets.layouts.folder",
    "datasets.glas": "datasets.layouts.glas",
    "datasets.images": "datasets.layouts.images",
    "datasets.masks": "datasets.layouts.masks",
    "datasets.mat": "datasets.layouts.mat",
    "datasets.nuinsseg": "datasets.layouts.nuinsseg",
    "datasets.orientation": "orientation",
    "datasets.pannuke": "datasets.layouts.pannuke",
    "datasets.patches": "datasets.sampling.patches",
    "datasets.pixels": "datasets.sampling.pixels",
    "datasets.points": "datasets.layouts.points",
    "datasets.resampled": "datasets.sampling.resampled",
    "datasets.split": "datasets.sampling.split",
    "datasets.windows": "datasets.sampling.windows",
    "exports.comparison": "exports.pictures.comparison",
    "exports.contact_sheet": "exports.pictures.contact_sheet",
    "exports.geojson": "exports.qupath.geojson",
    "exports.left_out": "exports.pictures.left_out",
    "exports.picture": "exports.pictures.drawing",
    "exports.plots": "exports.pictures.plots",
    "exports.polygons": "exports.qupath.polygons",
    "exports.preview": "exports.pictures.preview",
    "exports.qupath_check": "exports.qupath.check",
    "exports.qupath_geometry": "exports.qupath.geometry",
    "exports.qupath_rules": "exports.qupath.rules",
    "models.attention": "models.networks.attention",
    "models.attention_unet": "models.networks.attention_unet",
    "models.categorical": "models.diffusion.categorical",
    "models.checkpoint": "models.checkpoints.checkpoint",
    "models.cosine": "models.diffusion.cosine",
    "models.cosyn_blocks": "models.networks.cosyn_blocks",
    "models.cosyn_model": "models.checkpoints.cosyn",
    "models.cosyn_unet": "models.networks.cosyn_unet",
    "models.denoisers": "models.checkpoints.denoisers",
    "models.dense": "models.networks.dense",
    "models.ensemble": "models.features.ensemble",
    "models.feature_networks": "models.features.image_vectors",
    "models.fusion": "models.networks.fusion",
    "models.generators": "models.checkpoints.generators",
    "models.guidance": "models.diffusion.guidance",
    "models.guided_checkpoint": "models.checkpoints.guided",
    "models.header": "models.checkpoints.header",
    "models.hovernet": "models.networks.hovernet",
    "models.joint_diffusion": "models.diffusion.joint",
    "models.losses": "models.training.losses",
    "models.mean_levels": "models.diffusion.mean_levels",
    "models.norm": "models.networks.norm",
    "models.nucleus_classifier": "models.features.nucleus_classifier",
    "models.points_encoder": "models.conditioning.points_encoder",
    "models.processes": "models.training.processes",
    "models.samplers": "models.diffusion.samplers",
    "models.schedules": "models.diffusion.schedules",
    "models.spade_unet": "models.networks.spade_unet",
    "models.supervised_unet": "models.networks.supervised_unet",
    "models.text": "models.conditioning.text",
    "models.text_conditioner": "models.conditioning.text_conditioner",
    "models.text_encoders": "models.conditioning.text_encoders",
    "models.training_state": "models.training.state",
    "models.unet": "models.networks.unet",
    "models.variance": "models.diffusion.variance",
    "models.views": "models.features.views",
    "models.weights": "models.checkpoints.weights",
    "render": "exports.ome_zarr.render",
    "segmenters.contacts": "separation.contacts",
    "segmenters.flooding": "separation.flooding",
    "segmenters.joining": "separation.joining",
    "segmenters.separation": "separation.generated",
    "segmenters.soft_targets": "separation.soft_targets",
    "segmenters.targets": "separation.targets",
    "segmenters.watershed": "separation.watershed",
    "slides.directories": "slides.tiff.directories",
    "slides.directory_bytes": "slides.identity.directory_bytes",
    "slides.fingerprint": "slides.identity.fingerprint",
    "slides.isolated": "slides.isolation.isolated",
    "slides.messages": "slides.isolation.messages",
    "slides.ome": "slides.tiff.ome",
    "slides.reader_process": "slides.isolation.reader_process",
    "slides.segments": "slides.tiff.segments",
    "slides.slide_files": "slides.identity.slide_files",
    "slides.tiff_dialect": "slides.tiff.samples",
    "slides.tiff_layout": "slides.tiff.layout",
    "tasks.bench": "workflows.bench.run",
    "tasks.ceilings": "workflows.bench.ceilings",
    "tasks.class_match": "workflows.evaluate.classes",
    "tasks.cohort": "workflows.cohort.run",
    "tasks.cohort_records": "workflows.cohort.records",
    "tasks.cohort_summary": "workflows.cohort.summary",
    "tasks.compare_files": "workflows.compare.files",
    "tasks.compare_sets": "workflows.compare.run",
    "tasks.cosyn_config": "workflows.generators.cosyn_config",
    "tasks.cosyn_data": "workflows.generators.cosyn_data",
    "tasks.cosyn_report": "workflows.generators.cosyn_report",
    "tasks.cosyn_samples": "workflows.synthesize.cosyn",
    "tasks.cross_validate": "workflows.classify.cross_validate",
    "tasks.data_info": "workflows.data.info",
    "tasks.distill": "workflows.distill.run",
    "tasks.distill_config": "workflows.distill.config",
    "tasks.distill_sources": "workflows.distill.sources",
    "tasks.distribute": "workflows.segment.distribute",
    "tasks.doctor": "workflows.doctor.run",
    "tasks.done_before": "workflows.cohort.done_before",
    "tasks.evaluate": "workflows.evaluate.run",
    "tasks.evaluation": "workflows.evaluate.figures",
    "tasks.evaluation_files": "workflows.evaluate.files",
    "tasks.events": "workflows.segment.events",
    "tasks.findings": "workflows.doctor.findings",
    "tasks.finetune": "workflows.train.finetune",
    "tasks.fit_ensemble": "workflows.train.ensemble",
    "tasks.fit_joining": "workflows.join.run",
    "tasks.generate": "workflows.synthesize.batches",
    "tasks.generator_config": "workflows.generators.config",
    "tasks.generator_report": "workflows.generators.report",
    "tasks.gpus": "workflows.segment.gpus",
    "tasks.held_out": "workflows.training.held_out",
    "tasks.info": "workflows.doctor.info",
    "tasks.keep_best": "workflows.train.keep_best",
    "tasks.layout_source": "workflows.synthesize.layouts",
    "tasks.library_checks": "workflows.doctor.libraries",
    "tasks.machine_checks": "workflows.doctor.machine",
    "tasks.meter": "workflows.bench.meter",
    "tasks.model_file": "workflows.segment.model_file",
    "tasks.network_loss": "workflows.train.network_loss",
    "tasks.nudiff_samples": "workflows.synthesize.nudiff",
    "tasks.patch_figures": "workflows.compare.patches",
    "tasks.pixel_table": "workflows.train.pixel_table",
    "tasks.plan": "workflows.segment.plan",
    "tasks.point_nuclei": "workflows.classify.nuclei",
    "tasks.predictions": "workflows.evaluate.predictions",
    "tasks.pretrain": "workflows.denoiser.run",
    "tasks.pretrain_config": "workflows.denoiser.config",
    "tasks.pretrain_report": "workflows.denoiser.report",
    "tasks.resolutions": "workflows.evaluate.resolutions",
    "tasks.segment": "workflows.segment.run",
    "tasks.set_distances": "workflows.compare.distances",
    "tasks.slide_input": "workflows.segment.slide_input",
    "tasks.slide_list": "workflows.cohort.slide_list",
    "tasks.slide_state": "workflows.cohort.state",
    "tasks.soft_crops": "workflows.train.soft_crops",
    "tasks.sources": "workflows.data.sources",
    "tasks.status": "workflows.cohort.status",
    "tasks.subset": "workflows.data.subset",
    "tasks.summary": "workflows.segment.summary",
    "tasks.sweep": "workflows.train.sweep",
    "tasks.synthesis_config": "workflows.synthesize.config",
    "tasks.synthesize": "workflows.synthesize.run",
    "tasks.synthetic_set": "workflows.synthesize.folder",
    "tasks.synthetic_slide": "workflows.bench.synthetic_slide",
    "tasks.teacher": "workflows.distill.teacher",
    "tasks.teacher_patches": "workflows.distill.patches",
    "tasks.threshold": "workflows.train.threshold",
    "tasks.train_cosyn": "workflows.generators.cosyn",
    "tasks.train_ddpm": "workflows.train.ddpm",
    "tasks.train_network": "workflows.train.networks",
    "tasks.train_nudiff": "workflows.generators.nudiff",
    "tasks.train_points": "workflows.classify.run",
    "tasks.training_set": "workflows.data.training_set",
    "tasks.trial_block": "workflows.doctor.trial_block",
    "tasks.verify": "workflows.verify.run",
}
"""Name in version 0.1 -> name now, both below ``wsinuc``."""


class MovedModules(MetaPathFinder, Loader):
    """Finds a module that has moved, and gives what is there now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for the former name of a module; None for every other name."""
        if fullname == FORMER_PACKAGE:
            return ModuleSpec(fullname, self, is_package=True)
        if fullname.removeprefix("wsinuc.") in MODULES:
            return ModuleSpec(fullname, self)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of today in the place of ``module``; the former package stays empty."""
        old = module.__name__
        if old == FORMER_PACKAGE:
            return
        new = f"wsinuc.{MODULES[old.removeprefix('wsinuc.')]}"
        # Frames of the import system are not counted, so 2 is the line that imports.
        warnings.warn(f"{old} is {new} now; the old name ends with 0.3.0", DeprecationWarning, stacklevel=2)
        # Importing takes what stands here when this function ends.
        sys.modules[old] = import_module(new)
