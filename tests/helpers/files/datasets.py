"""Small data sets on disk, laid out exactly as their authors publish them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from skimage.draw import disk

from wsinuc.datasets.base import LabelledImage

SHAPE = (12, 16)  # h, w


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def blobs(*ids: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Labels with one 2 x 2 square per id, from left to right, one pixel between them."""
    labels = np.zeros(shape, np.int32)
    for i, label in enumerate(ids):
        labels[3:5, 1 + 3 * i : 3 + 3 * i] = label
    return labels


def save(pixels: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


TISSUES = ["Breast", "Colon"]


def pannuke_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Two patches: in the first, ids of two classes are the same number and the classes share one pixel."""
    images = np.stack([picture(0, (16, 16)), picture(1, (16, 16))]).astype(np.float64)
    masks = np.zeros((2, 16, 16, 6))
    masks[0, 2:5, 2:5, 0] = 7
    masks[0, 4:7, 4:7, 4] = 7
    masks[0, 10:12, 10:12, 4] = 1
    masks[..., 5] = ~masks[..., :5].any(axis=-1)
    return images, masks


def write_fold(images_npy: Path, masks_npy: Path, types_npy: Path) -> None:
    images, masks = pannuke_arrays()
    for path, array in ((images_npy, images), (masks_npy, masks), (types_npy, np.array(TISSUES))):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)


def write_pannuke(root: Path, pattern: str = "Fold {n}/{kind}/fold{n}", folds: tuple[int, ...] = (1, 2, 3)) -> Path:
    for n in folds:
        images, masks = (root / pattern.format(n=n, kind=kind) for kind in ("images", "masks"))
        write_fold(images / "images.npy", masks / "masks.npy", images / "types.npy")
    return root


def aperio(*regions: list[tuple[float, float]]) -> str:
    """Aperio's XML with outlines of (X, Y)."""
    body = "".join(
        f'<Region Id="{i}" Type="0"><Attributes/><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in region)
        + "</Vertices></Region>"
        for i, region in enumerate(regions, start=1)
    )
    return (
        '<Annotations MicronsPerPixel="0.252000"><Annotation Id="1" Name="" Type="4"><Attributes/>'
        f"<Regions><RegionAttributeHeaders/>{body}</Regions><Plots/></Annotation></Annotations>"
    )


def square(x: float, y: float, side: float) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def write_monuseg(root: Path) -> Path:
    train, test = root / "MoNuSeg 2018 Training Data" / "MoNuSeg 2018 Training Data", root / "MoNuSegTestData"
    for folder, images, xml, name in (
        (train, "Tissue Images", "Annotations", "TCGA-AY-A8YK-01A-01-TS1"),
        (test, "", "", "TCGA-44-2665-01B-06-BS6"),
    ):
        save(picture(0), folder / images / f"{name}.tif")
        (folder / xml).mkdir(exist_ok=True)
        (folder / xml / f"{name}.xml").write_text(aperio(square(2, 1, 4), square(4.4, 3.2, 5), square(-3, 9, 6)))
    return root


def save_mat(path: Path, **variables: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)
    return path


def write_consep(root: Path) -> Path:
    labels = blobs(1, 2, 3, 4)
    types = np.array([0, 1, 4, 7, 0])[labels]
    types[3, 4] = 3  # one of four pixels of nucleus 2 disagrees
    for part, name in (("Train", "train_1"), ("Train", "train_10"), ("Test", "test_1")):
        save(picture(0), root / part / "Images" / f"{name}.png")
        save_mat(
            root / part / "Labels" / f"{name}.mat",
            inst_map=labels.astype(np.float64),
            type_map=types.astype(np.float64),
            inst_type=np.array([[1], [4], [7], [1]]),
            inst_centroid=np.zeros((4, 2)),
        )
    return root


def write_lizard(root: Path, *, nested: bool = False) -> Path:
    labels = root / "Lizard_Labels" / "Labels"
    for folder, name in (("Lizard_Images1", "consep_1"), ("Lizard_Images2", "dpath_1")):
        save(picture(0), root / (f"{folder.lower()}/{folder}" if nested else folder) / f"{name}.png")
        save_mat(
            labels / f"{name}.mat",
            inst_map=blobs(2, 1, 4).astype(np.int32),
            id=np.array([[1], [2], [9]]),
            **{"class": np.array([[3], [6], [1]])},
            bbox=np.zeros((3, 4)),
            centroid=np.zeros((3, 2)),
        )
    (root / "Lizard_Labels" / "info.csv").write_text("Filename,Source,Split\nconsep_1,consep,1\ndpath_1,dpath,3\n")
    return root


def write_dsb(root: Path) -> Path:
    for name in ("0b2e", "0a7d"):
        folder = root / "stage1_train" / name
        save(np.dstack([picture(0), np.full(SHAPE, 255, np.uint8)]), folder / "images" / f"{name}.png")
        for i, mask in enumerate([blobs(0, 1), blobs(1), blobs(0, 0, 1)]):
            mask[3, 4] = 1  # all three claim one pixel
            save((mask > 0).astype(np.uint8) * 255, folder / "masks" / f"{i}f.png")
    return root


def write_set(folder: Path, *, images: int = 3, classes: tuple[str, ...] = ()) -> Path:
    """Dark discs on a pale ground, 96 px at 0.5 um per px; patients p0, p1 ..."""
    for name in ("images", "labels", "classes"):
        (folder / name).mkdir(parents=True)
    for index in range(images):
        rng = np.random.default_rng(index)
        image, labels = np.full((96, 96, 3), (225, 190, 215), np.uint8), np.zeros((96, 96), np.uint16)
        for y in (24, 72):
            for x in (24, 72):
                labels[disk((y + rng.integers(-4, 5), x + rng.integers(-4, 5)), 9)] = labels.max() + 1
        image[labels > 0] = (90, 60, 140)
        Image.fromarray(image).save(folder / "images" / f"i{index}.png")
        Image.fromarray(labels).save(folder / "labels" / f"i{index}.png")
        lines = [f"{label},{classes[label % len(classes)]}" for label in range(1, 5)] if classes else []
        (folder / "classes" / f"i{index}.csv").write_text("\n".join(["label,class", *lines]) + "\n")
    rows = [f"i{index},p{index},0.5" for index in range(images)]
    (folder / "manifest.csv").write_text("\n".join(["name,patient,mpp", *rows]) + "\n")
    if classes:
        (folder / "classes.csv").write_text("\n".join(["name", *classes]) + "\n")
    return folder


def write_images(folder: Path, images: Iterable[LabelledImage]) -> Path:
    """Images that are in memory, as folders ``images`` and ``labels``."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for image in images:
        Image.fromarray(image.image).save(folder / "images" / f"{image.name}.png")
        Image.fromarray(image.labels.astype(np.uint16)).save(folder / "labels" / f"{image.name}.png")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".synthesis" not in p.parts
    }
