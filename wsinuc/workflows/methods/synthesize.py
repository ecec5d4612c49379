"""``wsinuc.synthesize``: trained generators to a data set of labelled images, by what the checkpoint holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from wsinuc import arguments
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.errors import ConfigError
from wsinuc.models.checkpoints.cosyn import KIND as COSYN
from wsinuc.models.checkpoints.file_header import Header, require_header
from wsinuc.models.checkpoints.generators import IMAGE
from wsinuc.synthesis.layout_files import read_layout
from wsinuc.synthesis.layouts import NucleusLayout
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.methods.inputs import settings
from wsinuc.workflows.synthesize.config import SynthesisConfig
from wsinuc.workflows.synthesize.cosyn import CoSynRecipe
from wsinuc.workflows.synthesize.layouts import Layouts
from wsinuc.workflows.synthesize.nudiff import NudiffRecipe
from wsinuc.workflows.synthesize.run import SynthesisEvent, synthesize_recipe

LayoutLike = PathLike | Dataset | NucleusLayout
"""Where nuclei lie: a file, an open data set, points in memory."""


def synthesize(
    model: PathLike,
    out: PathLike,
    count: int,
    config: SynthesisConfig | None = None,
    *,
    layout: LayoutLike | None = None,
    prompts: str | Sequence[str] = (),
    tissues: str | Sequence[str] = (),
    text_encoder: PathLike | None = None,
    condition: str = "instances",
    device: str = "auto",
    on_event: Callable[[SynthesisEvent], None] | None = None,
) -> Dataset:
    """Make labelled images with a trained generator, as a data set in a folder.

    Image k depends on the checkpoints, the settings, the seed and k alone: interrupted, the same call goes on, and with
    a larger ``count`` it makes more.

    Parameters
    ----------
    model
        Checkpoint that `wsinuc.pretrain` has made: of a joint generator (kind ``cosyn``), or of images for structures
        (``nudiff-image``).
    out
        Folder of the data set; its parents are made.
    count
        Labelled images that it shall hold.
    config
        None takes the defaults of `wsinuc.SynthesisConfig`.
    layout
        Where nuclei lie. Of a joint generator: points in a file (CSV, GeoJSON, QuPath's zip), a data set whose layouts
        are taken, or None for new ones. Of an image generator, which needs it: the checkpoint of a structure generator,
        or a data set whose nuclei get new images.
    prompts
        Of joint generators: what the images show; of several image k takes the one at k modulo their number. None of
        them takes the template's, of the image's own tissue and classes.
    tissues
        Of joint generators: tissue of the images, likewise.
    text_encoder
        Of joint generators that were trained with CLIP: the folder of its files.
    condition
        Of image generators: ``instances`` makes the image for the structure of the labels, ``raw`` for the generated
        one, as published.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    on_event
        Called with a `wsinuc.workflows.synthesize.run.SynthesisStarted`, then with a ``SampleDone`` for each image.

    Returns
    -------
    Dataset
        The images in ``out``, ready for `wsinuc.train` and `wsinuc.evaluate`.

    Raises
    ------
    CheckpointError, DeviceError
        A checkpoint is of another kind or damaged, or there is no such device.
    ConfigError, DataError
        The settings are of something else, networks do not fit each other, or the request names a tissue, class or word
        that the generator does not know.
    OutputError
        ``out`` holds something else, or images of other settings.
    SynthesisError
        An image became no number any more, or a process was killed.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> import wsinuc
    >>> from wsinuc.models.diffusion.samplers import SamplerConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> drawn = "examples/data/CMU-1-Small-Region.nuclei.geojson"
    >>> windows = wsinuc.open_dataset("examples/data/CMU-1-Small-Region.svs", annotations=drawn)
    >>> training = wsinuc.GeneratorConfig.preset("nudiff-image", "cpu").lasting(1)
    >>> shape = replace(training.network, multipliers=(1,))
    >>> training = replace(training, patch=16, batch=1, drop_rate=0.0, network=shape)
    >>> generator = wsinuc.pretrain(windows[3:], folder / "image.safetensors", training, device="cpu").path
    >>> config = wsinuc.SynthesisConfig(sampler=SamplerConfig("dpm++", 2))
    >>> synthetic = wsinuc.synthesize(generator, folder / "synthetic", 2, config, layout=windows, device="cpu")
    >>> len(synthetic), synthetic[0].image.shape, synthetic.rows[0]["method"]
    (2, (16, 16, 3), 'nudiff')
    """
    path = to_path(model)
    folder = to_path(out)
    arguments.whole_number("count", count, least=1)
    config = settings(config, SynthesisConfig, "SynthesisConfig")
    header = require_header(path, COSYN, IMAGE)
    if header.kind == IMAGE:
        _refuse({"prompts": prompts, "tissues": tissues, "text_encoder": text_encoder}, COSYN)
        recipe: NudiffRecipe | CoSynRecipe = _of_structures(path, layout, config, condition, device)
    else:
        if condition != "instances":
            raise ConfigError(
                f"condition goes with images for structures ({IMAGE}), and this generator draws image and labels at "
                f"once; got {arguments.came(condition)}"
            )
        layouts, name = _layouts(layout, header, config)
        recipe = CoSynRecipe(
            model=path,
            layouts=layouts,
            layout_name=name,
            prompts=_texts("prompts", prompts),
            tissues=_texts("tissues", tissues),
            config=config,
            text_encoder=None if text_encoder is None else to_path(text_encoder),
            device=device,
        )
    synthesize_recipe(recipe, folder, count, on_event=on_event or _nobody)
    return open_dataset(folder)


def _of_structures(
    model: Path, layout: LayoutLike | None, config: SynthesisConfig, condition: str, device: str
) -> NudiffRecipe:
    """Images for structures, which a model makes or a data set has; raises ConfigError where there are none."""
    structure_model = None
    structures = None
    if isinstance(layout, Dataset):
        structures = layout
    elif isinstance(layout, (str, os.PathLike)):
        if Path(layout).is_file():
            structure_model = to_path(layout)
        else:
            structures = open_dataset(layout)
    else:
        raise ConfigError(
            f"{model} makes images for structures: say with layout= where these are from, the checkpoint of a "
            f"structure generator or a data set; got {arguments.came(layout)}"
        )
    return NudiffRecipe(
        structure_model=structure_model,
        image_model=model,
        structures=structures,
        config=config,
        condition=condition,
        device=device,
    )


def _layouts(layout: LayoutLike | None, header: Header, config: SynthesisConfig) -> tuple[Layouts, str]:
    """Where the nuclei of a joint generator lie, and what its data set calls that."""
    if layout is None:
        return None, "random"
    if isinstance(layout, NucleusLayout):
        return layout, "given"
    if isinstance(layout, Dataset):
        return layout, layout.path.name
    if not isinstance(layout, (str, os.PathLike)):
        raise ConfigError(f"expected points, a data set or their path, got {arguments.came(layout)}")
    path = to_path(layout)
    if not path.is_file():
        return open_dataset(layout), path.name
    size = config.size or int(header.config["size"])
    return read_layout(path, [each["name"] for each in header.config["classes"]], (size, size)), path.name


def _texts(name: str, texts: str | Sequence[str]) -> tuple[str, ...]:
    """One text or several as several."""
    if isinstance(texts, str):
        return (texts,)
    return tuple(arguments.text(name, text) for text in texts)


def _refuse(given: dict[str, object], kind: str) -> None:
    """Raise ConfigError for an argument that the generator would leave unheard."""
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} goes with joint generators ({kind}), and this one makes images for structures")


def _nobody(event: SynthesisEvent) -> None:
    """Tell nobody."""
