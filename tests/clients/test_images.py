"""ome-zarr, ome-zarr-models and napari's reader open the images of a result: the same ids, classes in their colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_ome_zarr import napari_get_reader
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import open_ome_zarr

from wsinuc.nuclei import Nuclei


@pytest.fixture(scope="module")
def container(result: Path) -> Path:
    return result / "labels.ome.zarr"


def areas(labels: Any) -> tuple[list[int], list[int]]:
    """Ids and their pixels; 0 is background."""
    ids, counts = np.unique(np.asarray(labels), return_counts=True)
    return ids[ids > 0].tolist(), counts[ids > 0].tolist()


def node(folder: Path) -> Any:
    """What ome-zarr reads of an image; the images around it are read, too."""
    (match,) = [each for each in Reader(parse_url(folder))() if Path(str(each.zarr.subpath(""))) == folder]
    return match


def layers(container: Path) -> list[Any]:
    """What napari would show of a container, without napari."""
    read = napari_get_reader(str(container))
    assert read is not None
    return read(str(container))


def layer(container: Path, name: str) -> tuple[Any, dict[str, Any], str]:
    """The layer of labels of that name, which the name of a channel may follow."""
    labels = [each for each in layers(container) if each[2] == "labels"]
    (match,) = [each for each in labels if Path(each[1]["name"]).name.partition(":")[0] == name]
    return match


def test_ome_zarr_reads_every_id(container: Path, nuclei: Nuclei):
    labels = node(container / "labels" / "nuclei")
    assert areas(labels.data[0]) == (nuclei.ids.tolist(), nuclei.areas_px.tolist())
    assert labels.metadata["axes"][-1]["unit"] == "micrometer"


def test_ome_zarr_models_validates_image_and_labels(container: Path):
    import zarr

    assert type(open_ome_zarr(zarr.open_group(container, mode="r"))).__module__.startswith("ome_zarr_models.v05")
    for name in ("nuclei", "nuclei_class"):
        image_label = open_ome_zarr(zarr.open_group(container / "labels" / name, mode="r"))
        assert image_label.ome_attributes.image_label is not None


def test_napari_shows_every_nucleus(container: Path, nuclei: Nuclei):
    data, options, kind = layer(container, "nuclei")
    assert kind == "labels"
    assert areas(data[0]) == (nuclei.ids.tolist(), nuclei.areas_px.tolist())
    assert list(options["scale"])[-2:] == pytest.approx([nuclei.frame.mpp] * 2)


def test_napari_shows_the_slide_with_classes_over_it_at_once(container: Path, nuclei: Nuclei):
    kinds = [each[2] for each in layers(container)]
    assert kinds.index("image") < kinds.index("labels"), "labels lie over the slide"
    image, shown, _ = next(each for each in layers(container) if each[2] == "image")
    pixels = np.asarray(image[0] if isinstance(image, list) else image)
    assert pixels.shape[0] == 3
    assert pixels.min() < 100, "a canvas without tissue"
    data, options, _ = layer(container, "nuclei_class")
    assert options.get("visible", True)
    expected = [int(nuclei.areas_px[nuclei.classes == index].sum()) for index in range(len(nuclei.class_names))]
    assert areas(data[0]) == ([1, 2], expected)
    # Both cover the same piece of the world.
    extents = [
        np.asarray(side.shape[-2:]) * np.asarray(each["scale"])[-2:]
        for side, each in ((pixels, shown), (np.asarray(data[0]), options))
    ]
    np.testing.assert_allclose(*extents, rtol=0.02)


def test_napari_draws_classes_in_their_colours(container: Path, nuclei: Nuclei):
    _, options, _ = layer(container, "nuclei_class")
    colormap = options.get("colormap", options.get("color"))
    colours = getattr(colormap, "color_dict", colormap)
    for index, colour in enumerate(nuclei.class_colors, start=1):
        np.testing.assert_allclose(np.asarray(colours[index])[:3], np.array(colour) / 255, atol=0.01)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_exported_container_holds_every_id(version: str, result: Path, nuclei: Nuclei, tmp_path: Path):
    import zarr

    from wsinuc.exports.ome_zarr.export import write_ome_zarr

    out = tmp_path / "plane.ome.zarr"
    write_ome_zarr(result, out, version=version)
    assert areas(node(out / "labels" / "nuclei").data[0]) == (nuclei.ids.tolist(), nuclei.areas_px.tolist())
    model = open_ome_zarr(zarr.open_group(out, mode="r"))
    assert type(model).__module__.startswith(f"ome_zarr_models.v{version.replace('.', '')}")
