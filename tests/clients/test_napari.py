"""What napari-ome-zarr makes of a result and of a map, by the plugin's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.oracle import CLASSES
from wsinuc.exports.ome_zarr.export import write_ome_zarr
from wsinuc.workflows.maps.run import map_nuclei, write_map


def layers_of(path: Path) -> dict[str, tuple[Any, dict[str, Any], str]]:
    from napari_ome_zarr._reader import napari_get_reader

    reader = napari_get_reader(str(path))
    assert reader is not None
    found = reader(str(path))
    return {str(metadata["name"]): (data, metadata, kind) for data, metadata, kind in found}


def test_the_slide_is_shown_with_the_classes_in_their_colours(reference: Path) -> None:
    from napari.layers import Labels

    layers = layers_of(reference / "labels.ome.zarr")
    slide = next(iter(layers))
    data, metadata, kind = layers.pop(slide)
    assert kind == "image"
    assert metadata["channel_axis"] == 0
    assert metadata["contrast_limits"] == [[0, 255]] * 3
    assert metadata["visible"] == [True] * 3
    assert np.asarray(data[0]).min() < 100
    data, metadata, kind = layers.pop("nuclei_class: classes")
    assert kind == "labels"
    layer = Labels(data, **metadata)
    assert layer.visible
    for value, item in enumerate(CLASSES, start=1):
        np.testing.assert_allclose(layer.get_color(value)[:3], np.array(item.color) / 255, atol=1e-3)
    ((data, metadata, kind),) = layers.values()
    assert kind == "labels"
    assert not metadata["visible"]
    assert np.asarray(data[0]).max() > 100


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_export_opens_in_both_versions(reference: Path, tmp_path: Path, version: str) -> None:
    write_ome_zarr(reference, tmp_path / "a.ome.zarr", version=version)  # type: ignore[arg-type]
    kinds = [kind for _, _, kind in layers_of(tmp_path / "a.ome.zarr").values()]
    assert kinds == ["image", "labels", "labels"]


def test_a_map_is_a_layer_with_its_scale(reference: Path, tmp_path: Path) -> None:
    made = map_nuclei(reference, um=40.0)
    write_map(made, tmp_path / "a.ome.zarr")
    ((data, metadata, kind),) = layers_of(tmp_path / "a.ome.zarr").values()
    assert kind == "image"
    assert metadata["scale"] == [40.0, 40.0]
    assert tuple(metadata["contrast_limits"]) == made.limits
    np.testing.assert_array_equal(np.asarray(data[0]), made.values)
