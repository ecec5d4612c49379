"""What OME-NGFF says of arrays: 0.5 below the key ``ome`` in Zarr 3, 0.4 among the attributes in Zarr 2.

Places are centres of pixels, counted in um from the centre of the first pixel of the label images. A level of labels
takes every second pixel of the one before it and needs a scale alone; a level of the slide is a mean over pixels, whose
centre lies half a pixel further, so that it has a translation as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wsinuc.nuclei.classes import NucleusClass

if TYPE_CHECKING:  # plans ask where levels lie, and do without
    import zarr

Version = Literal["0.4", "0.5"]
VERSIONS: tuple[Version, ...] = ("0.4", "0.5")
CLASS_IMAGE = "nuclei_class"
"""Name of the label image that is shown at once, because it has colours."""
SEMANTIC = "semantic"
"""Name of the label image of the classes of pixels, before nuclei are separated; not every result has it."""

_CHANNELS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The image that label images lie on: RGB as three channels, one array a level, at the top of the container."""

    scales: tuple[tuple[float, float], ...]
    """um per pixel of each level, (y, x)."""
    labels_mpp: float
    """um per pixel of the labels; the origin is the centre of their first pixel."""


def blank_canvas(mpp: float, levels: int) -> Canvas:
    """The canvas of labels without a copy of the slide, which has their pixels."""
    return Canvas(scales=tuple((mpp * 2**level, mpp * 2**level) for level in range(levels)), labels_mpp=mpp)


def describe_canvas(root: zarr.Group, canvas: Canvas, version: Version) -> None:
    """Write what a reader needs to show the canvas, without which it takes the container for nothing."""
    datasets = [
        {"path": str(level), "coordinateTransformations": _placed(scale, canvas.labels_mpp)}
        for level, scale in enumerate(canvas.scales)
    ]
    axes = [{"name": "c", "type": "channel"}, *_axes()]
    content = {
        "multiscales": [_multiscale("slide", "mean of 2 x 2 pixels", axes, datasets)],
        "omero": {"channels": [_channel(*each) for each in _CHANNELS], "rdefs": {"model": "color"}},
    }
    _write(root, content, version)


def describe_labels(
    root: zarr.Group,
    mpp: float,
    levels: int,
    classes: Sequence[NucleusClass],
    version: Version,
    *,
    semantic: Sequence[NucleusClass] | None = None,
) -> None:
    """Write what a reader needs to show the label images: scales, and the colours and names of classes.

    Parameters
    ----------
    mpp
        um per pixel of the finest level.
    levels
        Levels of each label image; as many as the canvas has.
    semantic
        Names and colours of the values of `SEMANTIC`; None where there is no such image.
    """
    images: dict[str, dict[str, Any]] = {"nuclei": {}, CLASS_IMAGE: class_table(classes)}
    if semantic is not None:
        images[SEMANTIC] = class_table(semantic)
    for name, image_label in images.items():
        datasets = [
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": [mpp * 2**level] * 2}],
            }
            for level in range(levels)
        ]
        content: dict[str, Any] = {
            "multiscales": [_multiscale(name, "every second pixel", list(_axes()), datasets)],
            "image-label": {"version": version, **image_label, "source": {"image": "../../"}},
        }
        if name == CLASS_IMAGE and version == "0.5":
            content["omero"] = _shown_at_once()
        _write(root[f"labels/{name}"], content, version)
    _write(root["labels"], {"labels": [*images]}, version)


def describe_plane(root: zarr.Group, name: str, *, um: float, labels_mpp: float, limits: tuple[float, float]) -> None:
    """Write what a reader needs to show the array ``0`` as one plane of values, in version 0.5.

    Parameters
    ----------
    name
        What the values are.
    um
        Per pixel.
    labels_mpp
        um per pixel of the label images below which the plane lies.
    limits
        Values from which to which a viewer spreads its colours.
    """
    shift = (um - labels_mpp) / 2
    transformations = [
        {"type": "scale", "scale": [um, um]},
        {"type": "translation", "translation": [shift, shift]},
    ]
    datasets = [{"path": "0", "coordinateTransformations": transformations}]
    low, high = limits
    window = {"min": low, "max": high, "start": low, "end": high}
    channel = {"label": name, "color": "FFFFFF", "active": True, "window": window}
    content = {
        "multiscales": [_multiscale("map", "none", list(_axes()), datasets)],
        "omero": {"channels": [channel], "rdefs": {"model": "greyscale"}},
    }
    _write(root, content, "0.5")


def class_table(classes: Sequence[NucleusClass]) -> dict[str, Any]:
    """Colours and names by label value; the background is transparent.

    Examples
    --------
    >>> class_table([NucleusClass("Nucleus", (0, 200, 80))])["colors"][1]
    {'label-value': 1, 'rgba': [0, 200, 80, 255]}
    """
    rows = [("background", [0, 0, 0, 0]), *((item.name, [*item.color, 255]) for item in classes)]
    return {
        "colors": [{"label-value": value, "rgba": rgba} for value, (_, rgba) in enumerate(rows)],
        "properties": [{"label-value": value, "name": name} for value, (name, _) in enumerate(rows)],
    }


def classes_of(image_label: Mapping[str, Any]) -> list[NucleusClass]:
    """The classes that `class_table` has described, in the order of their values."""
    pairs = zip(image_label["properties"], image_label["colors"], strict=True)
    return [NucleusClass(row["name"], tuple(color["rgba"][:3])) for row, color in pairs][1:]


def semantic_classes(root: Any) -> list[NucleusClass] | None:
    """Classes of the label image `SEMANTIC` of a container; None where it has no such image."""
    if f"labels/{SEMANTIC}" not in root:
        return None
    return classes_of(root[f"labels/{SEMANTIC}"].attrs["ome"]["image-label"])


def _shown_at_once() -> dict[str, Any]:
    """What napari-ome-zarr shows a label image by, which it hides otherwise.

    Without a window: napari-ome-zarr hands the window on as contrast limits, which a layer of labels refuses. The
    models of 0.4 insist on one, so that 0.4 does without all of this.
    """
    return {"channels": [{"label": "classes", "active": True, "color": "FFFFFF"}]}


def _placed(scale: tuple[float, float], labels_mpp: float) -> list[dict[str, Any]]:
    """Scale and translation of a level of the canvas, (c, y, x)."""
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0, *scale]}]
    # A pixel begins where the labels' first pixel does, and its centre is half of it further.
    shift = [(um - labels_mpp) / 2 for um in scale]
    if any(shift):
        transformations.append({"type": "translation", "translation": [0.0, *shift]})
    return transformations


def _channel(label: str, color: str) -> dict[str, Any]:
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    return {"label": label, "color": color, "active": True, "window": window}


def _axes() -> Iterable[dict[str, str]]:
    return [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]


def _multiscale(name: str, method: str, axes: list[dict[str, str]], datasets: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "type": method, "axes": axes, "datasets": datasets}


def _write(group: zarr.Group | zarr.Array[Any], content: dict[str, Any], version: Version) -> None:
    if version == "0.5":
        group.attrs["ome"] = {"version": version, **content}
        return
    # 0.4 has no place for the version of a group, but for that of each image.
    images = [{"version": version, **image} for image in content.get("multiscales", [])]
    group.attrs.update({**content, **({"multiscales": images} if images else {})})
