"""A model by its name or file, as something that can be sent to another process and loaded there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsinuc.config import SegmentConfig
from wsinuc.errors import CheckpointError, ClusterError
from wsinuc.pipeline.block_worker import GivenSegmenter, SegmenterSource
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.cutoffs import Adjustable, Cutoffs, changed_cutoffs, with_cutoffs
from wsinuc.urls import PathLike


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Loads a model in a worker process and makes sure that it is the client's."""

    model: str
    """Name of a shipped model, or an absolute path."""
    device: str
    sha256: str
    """SHA-256 of the file that the client has."""
    cutoffs: Cutoffs | None = None
    """Those of the client's segmenter, where they are not those of the file."""

    def __call__(self) -> Segmenter:
        """The segmenter; on the CPU with one thread, because the last bits of a sum depend on how many share it.

        Raises
        ------
        CheckpointError
            The file is missing here, or is another one.
        DeviceError
            There is no such device here.
        """
        import torch

        from wsinuc.segmenters import load_segmenter

        torch.set_num_threads(1)
        segmenter = load_segmenter(self.model, device=self.device)
        sha256 = getattr(segmenter, "weights_sha256", "")
        if sha256 != self.sha256:
            raise CheckpointError(
                f"the model {self.model} has sha256 {sha256[:12]} here and {self.sha256[:12]} for the client: "
                "install the same version of wsinuc, or copy the same file to the same path"
            )
        if self.cutoffs is None:
            return segmenter
        return with_cutoffs(segmenter, threshold=self.cutoffs.threshold, min_area_um2=self.cutoffs.min_area_um2)


def source_of(segmenter: Segmenter, config: SegmentConfig) -> SegmenterSource:
    """How a worker gets this segmenter: from the file that ``config`` names, or with the task if it is from none.

    Raises
    ------
    ClusterError
        It was loaded from another file than ``config`` names: then nobody knows where workers would find it.
    """
    sha256 = getattr(segmenter, "weights_sha256", "")
    if not sha256:
        return GivenSegmenter(segmenter.identity, segmenter)
    if sha256 != _sha256(config.model):
        raise ClusterError(
            f"the segmenter's weights ({sha256[:12]}) are not those of the model {config.model!r} that the "
            "config names: workers load it by that name, so name the file it is from"
        )
    path = Path(config.model)
    # Workers have another current folder; the name of a shipped model is no path.
    if path.is_file():
        model = str(path.absolute())
    else:
        model = str(config.model)
    return ModelFile(model, config.device, sha256, _other_cutoffs(segmenter))


def _other_cutoffs(segmenter: Segmenter) -> Cutoffs | None:
    """Cutoffs that a worker would not find in the file."""
    if isinstance(segmenter, Adjustable) and changed_cutoffs(segmenter):
        return segmenter.cutoffs
    return None


def _sha256(model: PathLike) -> str:
    from wsinuc.models.checkpoints.file_header import file_sha256
    from wsinuc.segmenters import model_path

    return file_sha256(model_path(model))
