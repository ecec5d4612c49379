"""Data sets with one file damaged, for the fuzz script."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from helpers.files import datasets, label_pictures
from helpers.fuzz.judge import by_all
from helpers.fuzz.mutations import mutate_document
from helpers.fuzz.parsers import Made, Parser, at
from wsinuc.grid import Box


def aperio_xml(folder: Path) -> Parser:
    """Outlines of MoNuSeg."""
    from wsinuc.datasets import open_dataset

    datasets.write_monuseg(folder)
    path = next(folder.rglob("TCGA-44*.xml"))
    seeds = [
        path.read_bytes(),
        datasets.aperio(datasets.square(1, 1, 3), [(2, 2), (9, 2), (5, 8)]).encode(),
    ]
    return Parser(seeds=seeds, read=at(path, lambda _: list(open_dataset(folder, layout="monuseg", mpp=0.25))))


def own_folder(which: str) -> Made:
    """One's own data set, with one of its files damaged."""

    def make(folder: Path) -> Parser:
        from wsinuc.datasets import open_dataset

        root = folder / "set"
        for name in ("a", "b"):
            datasets.save(datasets.picture(1), root / "images" / f"{name}.png")
            datasets.save(datasets.blobs(1, 2, 3).astype(np.uint8), root / "labels" / f"{name}.png")
        (root / "classes").mkdir()
        (root / "classes" / "a.csv").write_text("label,class\n1,A\n2,B\n3,A\n")
        (root / "classes" / "b.csv").write_text("label,class\n1,A\n2,B\n3,A\n")
        (root / "classes.csv").write_text("name,color\nA,#ff0000\nB,#00ff00\n")
        (root / "manifest.csv").write_text("name,mpp,patient\na,0.25,p1\nb,0.5,p2\n")
        path = root / which
        return Parser(seeds=[path.read_bytes()], read=at(path, lambda _: list(open_dataset(root, mpp=0.25))))

    return make


def points(which: str) -> Made:
    """Nuclei marked by points."""

    def make(folder: Path) -> Parser:
        from wsinuc.datasets import open_dataset

        root = folder / "set"
        datasets.save(datasets.picture(1), root / "images" / "a.png")
        content = {
            "points/a.csv": "x,y,class\n1,2,A\n3.5,4,B\n5,5,\n",
            "classes.csv": "name,color\nA,#ff0000\nB,#00ff00\n",
            "labels/bulk/p1/a.txt": "1 2 0\n3 4 1\n",
        }
        named = [which] if which.endswith(".txt") else ["points/a.csv", "classes.csv"]
        for name in named:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content[name])
        layout = "endonuke" if which.endswith(".txt") else "points"
        read = at(root / which, lambda _: list(open_dataset(root, mpp=0.25, layout=layout)))
        return Parser(seeds=[content[which].encode()], read=read)

    return make


def label_files(suffix: str) -> Made:
    """Label pictures of every kind that is known to occur."""

    def make(folder: Path) -> Parser:
        from wsinuc.datasets.label_files import label_shape, read_ids, read_labels, read_mask

        path = folder / f"a{suffix}"
        seeds = []
        for each in label_pictures.pictures():
            path.unlink(missing_ok=True)
            each.write(folder / "a")
            if path.exists():
                seeds.append(path.read_bytes())

        def read(given: Path) -> None:
            readers = [label_shape, read_labels, read_ids, *([read_mask] if suffix == ".png" else [])]
            by_all(*(partial(reader, given) for reader in readers))

        return Parser(seeds=seeds, read=at(path, read))

    return make


def tissue_mask(folder: Path) -> Parser:
    """A mask as a picture."""
    from wsinuc.slides.array import ArraySlide
    from wsinuc.tissue.load import load_tissue

    mask = (label_pictures.nuclei() > 0).astype(np.uint8) * 255
    view = ArraySlide(np.full((*mask.shape, 3), 255, np.uint8), mpp=0.5).at(0.5)
    seeds = []
    for mode in ("L", "1", "RGBA", "P", "I;16"):
        stream = io.BytesIO()
        Image.fromarray(mask).convert(mode).save(stream, "PNG")
        seeds.append(stream.getvalue())
    return Parser(seeds=seeds, read=at(folder / "mask.png", lambda path: load_tissue(path, view)))


def matlab(folder: Path) -> Parser:
    """MATLAB files of CoNSeP."""
    from wsinuc.datasets import open_dataset

    datasets.write_consep(folder)
    for path in [*folder.rglob("train_10.*"), *folder.rglob("test_1.*")]:
        path.unlink()
    path = next(folder.rglob("train_1.mat"))
    good = path.read_bytes()
    savemat(folder / "plain.mat", {"inst_map": datasets.blobs(1, 2), "type_map": datasets.blobs(1, 2)})
    seeds = [good, (folder / "plain.mat").read_bytes()]
    return Parser(seeds=seeds, read=at(path, lambda _: list(open_dataset(folder, layout="consep"))))


def numpy_arrays(which: str) -> Made:
    """Arrays of PanNuke."""

    def make(folder: Path) -> Parser:
        from wsinuc.datasets import open_dataset

        datasets.write_pannuke(folder, folds=(1,))
        path = next(folder.rglob(which))
        stream = io.BytesIO()
        np.save(stream, np.array([{"a": 1}, None], object), allow_pickle=True)
        seeds = [path.read_bytes(), path.read_bytes(), stream.getvalue()]
        return Parser(seeds=seeds, read=at(path, lambda _: list(open_dataset(folder))))

    return make


def split_file(folder: Path) -> Parser:
    """Parts of a data set, applied to it."""
    from wsinuc.datasets import open_dataset
    from wsinuc.datasets.sampling.split import Split

    root = folder / "set"
    for name in ("a", "b"):
        datasets.save(datasets.picture(1), root / "images" / f"{name}.png")
        datasets.save(datasets.blobs(1, 2, 3).astype(np.uint8), root / "labels" / f"{name}.png")
    parts = {"train": (("a", Box(0, 0, 8, 8)),), "test": (("b", None),), "all": (("b", None),)}
    Split(parts=parts, dataset="folder", seed=1).save(folder / "seed.json")

    def read(path: Path) -> None:
        split = Split.load(path)
        dataset = open_dataset(root, mpp=0.25)
        for part in split.parts:
            list(split.of(dataset, part))

    seeds = [(folder / "seed.json").read_bytes()]
    return Parser(seeds=seeds, read=at(folder / "split.json", read), damage=mutate_document)
