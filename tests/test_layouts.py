"""Every published layout, read from small files that lie exactly as their authors publish them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsinuc.datasets import LAYOUTS, open_dataset
from wsinuc.datasets.aperio import MONUSEG_TEST, paint_regions
from wsinuc.datasets.pannuke import merge_channels
from wsinuc.errors import DataError, MppError

SHARED = Path(__file__).parents[2] / "shared" / "data"
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


# ---------------------------------------------------------------- PanNuke

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


def test_pannuke_reads_patches_of_all_folds(tmp_path):
    dataset = open_dataset(write_pannuke(tmp_path))
    assert (dataset.layout.name, len(dataset)) == ("pannuke", 6)
    assert dataset.rows[3] == {"name": "fold2_0001", "fold": "2", "tissue": "Colon"}
    image = dataset[2]
    images, _ = pannuke_arrays()
    np.testing.assert_array_equal(image.image, images[0])
    assert (image.image.dtype, image.mpp) == (np.uint8, 0.25)
    assert image.labels[4, 4] == 0, "a pixel that two classes claim is background"
    assert np.unique(image.labels).tolist() == [0, 1, 2, 3]
    names = [dataset.classes[image.classes[label] - 1].name for label in (1, 2, 3)]
    assert names == ["Neoplastic", "Epithelial", "Epithelial"]
    assert dataset[1].labels.max() == 0
    assert dataset[1].classes.tolist() == [0]


@pytest.mark.parametrize("pattern", ["Fold{n}/{kind}/fold{n}", "fold_{n}/{kind}/fold{n}", "{kind}/fold{n}", "fold{n}"])
def test_pannuke_in_other_folders(tmp_path, pattern):
    expected = open_dataset(write_pannuke(tmp_path / "published"))
    found = open_dataset(write_pannuke(tmp_path / "other", pattern))
    assert found.rows == expected.rows
    np.testing.assert_array_equal(found[4].labels, expected[4].labels)


def test_pannuke_sorted_by_kind_and_one_fold_alone(tmp_path):
    flat = tmp_path / "flat"
    write_fold(*(flat / kind / "fold_2.npy" for kind in ("images", "masks", "types")))
    assert open_dataset(flat).names == ("fold2_0000", "fold2_0001")
    alone = write_pannuke(tmp_path / "set", folds=(3,)) / "Fold 3"
    assert open_dataset(alone).names == ("fold3_0000", "fold3_0001")


def test_every_nucleus_of_pannuke_keeps_its_uncontested_pixels():
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 4, (20, 20, 6)) * (rng.random((20, 20, 6)) < 0.3)
    labels, classes = merge_channels(masks.astype(np.float64), Path("masks.npy"))
    claims = (masks[..., :5] > 0).sum(axis=2)
    np.testing.assert_array_equal(labels > 0, claims == 1)
    y, x = np.nonzero(labels)
    channel = classes[labels[y, x]] - 1
    original = list(zip(channel.tolist(), masks[y, x, channel].tolist(), strict=True))
    assert len(set(zip(labels[y, x].tolist(), original, strict=True))) == labels.max() == len(set(original))


@pytest.mark.parametrize(
    ("array", "name", "message"),
    [
        (np.zeros((2, 16, 16, 5)), "masks", r"masks \(n, 256, 256, 6\), got .*\(2, 16, 16, 5\)"),
        (np.zeros((3, 16, 16, 6)), "masks", "of different folds"),
        (np.array([{}, {}], object), "types", "no plain NumPy array"),
        (np.array(["Breast"]), "types", "expected 2 names of tissues"),
        (np.full((2, 16, 16, 6), 0.5), "masks", "whole numbers.*fractions"),
        (np.full((2, 16, 16, 3), 0.5), "images", "between 0 and 1; the published arrays go to 255"),
        (np.full((2, 16, 16, 3), 300.0), "images", "between 0 and 255, got 300 to 300"),
    ],
)
def test_pannuke_refuses(tmp_path, array, name, message):
    root = write_pannuke(tmp_path, folds=(1,))
    folder = root / "Fold 1" / ("masks" if name == "masks" else "images") / "fold1"
    if name == "masks" and array.shape == (2, 16, 16, 6):
        array[..., 1:] = 0
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(DataError, match=message):
        open_dataset(root)[0]


def test_a_truncated_array_is_named(tmp_path):
    root = write_pannuke(tmp_path, folds=(1,))
    path = root / "Fold 1" / "images" / "fold1" / "images.npy"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"images\.npy is no plain NumPy array, or is cut off"):
        open_dataset(root)


# ---------------------------------------------------------------- MoNuSeg, Kumar


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


def test_monuseg_paints_outlines_in_order(tmp_path):
    dataset = open_dataset(write_monuseg(tmp_path / "monuseg"))
    assert dataset.layout.name == "monuseg"
    assert [(row["split"], row["organ"], row["patient"]) for row in dataset.rows] == [
        ("train", "colon", "TCGA-AY-A8YK"),
        ("test", "lung", "TCGA-44-2665"),
    ]
    labels = dataset[0].labels
    expected = np.zeros(SHAPE, int)
    expected[3:8, 4:9] = 2  # from 4.4, 3.2: pixel centres 4.5 and 3.5 lie inside, 9.5 and 8.5 do not
    expected[1:5, 2:6] = 1  # the first keeps what both claim
    expected[9:12, 0:3] = 3  # clipped at the image's edges
    np.testing.assert_array_equal(labels, expected)


def test_a_hidden_nucleus_takes_no_number():
    def ring(y: float, x: float, side: float) -> np.ndarray:
        return np.array([[y, x], [y, x + side], [y + side, x + side], [y + side, x]])

    labels = paint_regions([ring(0, 0, 6), ring(1, 1, 2), ring(20, 20, 3), np.zeros((0, 2)), ring(8, 8, 2)], (12, 12))
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert labels[9, 9] == 2


def test_kumar_knows_its_three_splits(tmp_path):
    folder = tmp_path / "Kumar"
    for name in ("TCGA-A7-A13E-01Z-00-DX1", "TCGA-E2-A1B5-01Z-00-DX1", "TCGA-RD-A8N9-01A-01-TS1"):
        save(picture(0), folder / "Tissue Images" / f"{name}.tif")
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{name}.xml").write_text(aperio(square(2, 1, 4)))
    dataset = open_dataset(folder)
    assert dataset.layout.name == "kumar"
    assert [row["split"] for row in dataset.rows] == ["train", "test_same", "test_different"]
    assert open_dataset(f"monuseg={folder}").layout.name == "monuseg"
    assert dataset[2].labels.sum() == 16


@pytest.mark.skipif(not (SHARED / "monuseg2018_train").is_dir(), reason="the shared data sets are not here")
def test_the_table_of_organs_is_the_one_of_the_real_set(tmp_path):
    rows = open_dataset(SHARED / "monuseg2018_train", mpp=0.25).rows
    for row in rows:
        save(picture(0), tmp_path / f"{row['name']}.tif")
        (tmp_path / f"{row['name']}.xml").write_text(aperio())
    found = {row["name"]: row["organ"] for row in open_dataset(f"monuseg={tmp_path}").rows}
    known = {row["name"]: row["organ"] for row in rows}
    assert len(found) == 30
    assert sum(len(patients) for patients in MONUSEG_TEST.values()) == 14
    assert {name: organ for name, organ in found.items() if organ != known[name]} == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Annotations><Annot", "no whole XML file"),
        ("<html/>", "root Annotations, got html"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations>&b;</Annotations>', "declares entities"),
        (aperio([(1, 1), (float("nan"), 2), (3, 3)]), "no finite number"),
        (aperio([(1, 1)]).replace('X="1"', ""), "needs the numbers X and Y"),
        (None, "is missing"),
    ],
)
def test_broken_xml(tmp_path, text, message):
    root = write_monuseg(tmp_path)
    xml = next(root.rglob("TCGA-AY*.xml"))
    xml.unlink()
    if text is not None:
        xml.write_text(text)
    dataset = open_dataset(root)
    assert dataset[1].labels.max() == 3
    with pytest.raises(DataError, match=message):
        dataset[0]


# ---------------------------------------------------------------- CoNSeP, CPM, Lizard


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


def test_consep_and_its_four_classes(tmp_path):
    dataset = open_dataset(write_consep(tmp_path))
    assert (dataset.layout.name, dataset[0].mpp) == ("consep", 0.25)
    assert [(row["name"], row["split"]) for row in dataset.rows] == [
        ("test_1", "test"),
        ("train_1", "train"),
        ("train_10", "train"),
    ]
    image = dataset[1]
    np.testing.assert_array_equal(image.labels, blobs(1, 2, 3, 4))
    assert [dataset.classes[c - 1].name for c in image.classes[1:4]] == ["Other", "Malignant epithelial", "Endothelial"]
    assert image.classes[4] == 0, "a nucleus without a type is of no known class"
    grouped = open_dataset(f"consep-grouped={tmp_path}")
    assert [grouped.classes[c - 1].name for c in grouped[1].classes[1:4]] == ["Other", "Epithelial", "Spindle-shaped"]


def test_cpm_tells_sets_and_parts_apart(tmp_path):
    for folder in ("cpm17/train", "cpm17/test", "cpm15"):
        save(picture(0), tmp_path / folder / "Images" / "image_00.png")
        save_mat(tmp_path / folder / "Labels" / "image_00.mat", inst_map=blobs(5, 9).astype(np.float64))
    with pytest.raises(MppError, match="cpm15_image_00 is not recorded"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, mpp=0.25)
    assert dataset.layout.name == "cpm"
    assert dataset.names == ("cpm15_image_00", "cpm17_test_image_00", "cpm17_train_image_00")
    assert [(row["set"], row["split"]) for row in dataset.rows] == [
        ("cpm15", ""),
        ("cpm17", "test"),
        ("cpm17", "train"),
    ]
    assert np.unique(dataset[2].labels).tolist() == [0, 5, 9]
    assert dataset[2].classes is None


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


@pytest.mark.parametrize("nested", [False, True])
def test_lizard(tmp_path, nested):
    dataset = open_dataset(write_lizard(tmp_path, nested=nested))
    assert (dataset.layout.name, dataset[0].mpp) == ("lizard", 0.5)
    assert dataset.rows[1] == {"name": "dpath_1", "source": "dpath", "split": "3"}
    image = dataset[0]
    np.testing.assert_array_equal(image.labels, blobs(2, 1, 4))
    names = ["not known", *(c.name for c in dataset.classes)]
    assert [names[image.classes[label]] for label in (1, 2, 4)] == ["Lymphocyte", "Connective", "not known"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inst_map": np.zeros((12, 17))}, r"labels are \(12, 17\) \(h, w\) but the image train_1\.png is \(12, 16\)"),
        ({"inst_map": np.full(SHAPE, 0.5)}, "whole numbers"),
        ({"type_map": np.full(SHAPE, 8)}, "type_map must hold 0 to 7, got 8"),
        ({"other": np.zeros(3)}, "no variable 'inst_map'; it has other"),
    ],
)
def test_broken_mat_files(tmp_path, change, message):
    root = write_consep(tmp_path)
    whole = {} if "other" in change else {"inst_map": blobs(1), "type_map": blobs(1)}
    save_mat(root / "Train" / "Labels" / "train_1.mat", **(whole | change))
    with pytest.raises(DataError, match=message):
        open_dataset(root)[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\0" * 400, "MATLAB 7.3"),
        (b"nonsense", "no whole MATLAB file"),
        (None, "is missing"),
    ],
)
def test_files_that_are_no_mat_files(tmp_path, content, message):
    root = write_consep(tmp_path)
    path = root / "Train" / "Labels" / "train_1.mat"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(root)[1]


@pytest.mark.parametrize("length", [100, 140, 200, 260])
def test_truncated_mat_files(tmp_path, length):
    root = write_consep(tmp_path)
    path = root / "Train" / "Labels" / "train_1.mat"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"train_1\.mat"):
        open_dataset(root)[1]


# ---------------------------------------------------------------- NuInsSeg, TNBC, DSB 2018, GlaS


def test_nuinsseg(tmp_path):
    for organ, name, masks in (
        ("human bladder", "human_bladder_01", "label masks modify"),
        ("mouse muscle_tibia", "mouse_muscle_tibia_1", "label masks"),
    ):
        save(picture(0), tmp_path / organ / "tissue images" / f"{name}.png")
        save(blobs(1, 2).astype(np.uint16), tmp_path / organ / masks / f"{name}.tif")
        (tmp_path / organ / "vague areas" / "mask binary").mkdir(parents=True)
    save(blobs(8).astype(np.uint16), tmp_path / "human bladder" / "label masks" / "human_bladder_01.tif")
    dataset = open_dataset(tmp_path)
    assert dataset.layout.name == "nuinsseg"
    assert dataset.rows[0] == {"name": "human_bladder_01", "organ": "bladder", "species": "human"}
    assert dataset.rows[1]["organ"] == "muscle_tibia"
    for image in dataset:
        np.testing.assert_array_equal(image.labels, blobs(1, 2))


def test_tnbc(tmp_path):
    mask = (blobs(1, 2) > 0).astype(np.uint8) * 255
    for patient in ("01", "12"):
        save(np.dstack([picture(0), np.full(SHAPE, 255, np.uint8)]), tmp_path / f"Slide_{patient}" / f"{patient}_1.png")
        save(mask, tmp_path / f"GT_{patient}" / f"{patient}_1.png")
    dataset = open_dataset(tmp_path)
    assert dataset.layout.name == "tnbc"
    assert [(row["patient"], row["organ"]) for row in dataset.rows] == [("01", "breast"), ("12", "brain")]
    np.testing.assert_array_equal(dataset[0].labels, blobs(1, 2))
    np.testing.assert_array_equal(dataset[0].image, picture(0))
    save(mask[:-1], tmp_path / "GT_12" / "12_1.png")
    with pytest.raises(DataError, match=r"labels are \(11, 16\)"):
        dataset[1]


@pytest.mark.skipif(not (SHARED / "tnbc").is_dir(), reason="the shared data sets are not here")
def test_tnbc_as_published_has_the_nuclei_of_the_prepared_set(tmp_path):
    prepared = open_dataset(SHARED / "tnbc", mpp=0.25)[:4]
    for image in prepared:
        _, patient, number = image.name.split("_")
        save(image.image, tmp_path / f"Slide_{patient}" / f"{patient}_{number}.png")
        save((image.labels > 0).astype(np.uint8) * 255, tmp_path / f"GT_{patient}" / f"{patient}_{number}.png")
    for ours, theirs in zip(open_dataset(tmp_path), prepared, strict=True):
        # What touches at corners alone is one component there and two here.
        assert theirs.labels.max() <= ours.labels.max() <= 1.02 * theirs.labels.max()


def write_dsb(root: Path) -> Path:
    for name in ("0b2e", "0a7d"):
        folder = root / "stage1_train" / name
        save(np.dstack([picture(0), np.full(SHAPE, 255, np.uint8)]), folder / "images" / f"{name}.png")
        for i, mask in enumerate([blobs(0, 1), blobs(1), blobs(0, 0, 1)]):
            mask[3, 4] = 1  # all three claim one pixel
            save((mask > 0).astype(np.uint8) * 255, folder / "masks" / f"{i}f.png")
    return root


def test_dsb2018(tmp_path):
    dataset = open_dataset(write_dsb(tmp_path), mpp=0.25)
    assert dataset.layout.name == "dsb2018"
    assert dataset.rows[0] == {"name": "0a7d", "stage": "stage1_train"}
    np.testing.assert_array_equal(dataset[0].labels, blobs(2, 1, 3))
    assert open_dataset(tmp_path / "stage1_train", mpp=0.25).rows == dataset.rows
    with pytest.raises(MppError):
        open_dataset(tmp_path)
    for mask in (tmp_path / "stage1_train" / "0b2e" / "masks").iterdir():
        mask.unlink()
    with pytest.raises(DataError, match="holds no masks"):
        dataset[1]


@pytest.mark.parametrize("palette", [False, True])
def test_glas(tmp_path, palette):
    folder = tmp_path / "Warwick QU Dataset (Released 2016_07_08)"
    for name in ("train_1", "testA_12", "testB_3"):
        save(picture(0), folder / f"{name}.bmp")
        anno = Image.fromarray(blobs(1, 2).astype(np.uint8))
        if palette:
            anno.putpalette([200, 10, 10, 0, 255, 0, 0, 0, 255])
        anno.save(folder / f"{name}_anno.bmp")
    header = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
    (folder / "Grade.csv").write_text(
        f"{header}\ntrain_1,7, benign, healthy\ntestA_12,4, malignant, poorly differentiated\n"
    )
    dataset = open_dataset(tmp_path)
    assert (dataset.layout.name, dataset.layout.kind, len(dataset)) == ("glas", "glands", 3)
    row = dataset.rows[dataset.names.index("testA_12")]
    assert (row["split"], row["patient"], row["grade"]) == ("testA", "4", "malignant")
    assert row["differentiation"] == "poorly differentiated"
    assert dataset.rows[dataset.names.index("testB_3")]["grade"] == ""
    np.testing.assert_array_equal(dataset[0].labels, blobs(1, 2))
    assert dataset[0].mpp == pytest.approx(0.62, abs=1e-3)


# ---------------------------------------------------------------- points


def test_nucls_as_published(tmp_path):
    name = "TCGA-A1-A0SP-DX1_id-5ea4095addda5f8398977ebc_left-7053_top-53967_bottom-54231_right-7311"
    save(picture(0), tmp_path / "rgb" / f"{name}.png")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / f"{name}.csv").write_text(
        "raw_classification,main_classification,super_classification,type,xmin,ymin,xmax,ymax,coords_x,coords_y\n"
        "fov,fov,fov,rectangle,0,0,16,12,,\n"
        'tumor,tumor_nonMitotic,tumor_any,polyline,2,3,6,9,"2,6","3,9"\n'
        "lymphocyte,lymphocyte,sTIL,rectangle,9,1,10,2,,\n"
        "unlabeled,AMBIGUOUS,AMBIGUOUS,rectangle,1,1,3,3,,\n"
        "tumor,tumor_nonMitotic,tumor_any,rectangle,14,3,20,9,,\n"
    )
    dataset = open_dataset(tmp_path)
    assert (dataset.layout.name, dataset.layout.kind, dataset[0].mpp) == ("nucls", "points", 0.2)
    assert dataset.rows[0]["patient"] == "TCGA-A1-A0SP"
    image = dataset[0]
    assert image.points.tolist() == [[6, 4], [1.5, 9.5], [2, 2]], "the last box has its centre outside"
    assert image.point_classes.tolist() == [1, 3, 0]
    assert image.labels.shape == SHAPE
    assert not image.labels.any()


def test_nucls_points_by_class_number(tmp_path):
    save(picture(0), tmp_path / "images" / "test_1.png")
    (tmp_path / "points").mkdir()
    table = tmp_path / "points" / "test_1.csv"
    table.write_text("x,y,class\n4,6,0\n9,1,3\n")
    image = open_dataset(tmp_path)[0]
    assert image.points.tolist() == [[6, 4], [1, 9]]
    assert image.point_classes.tolist() == [1, 4]
    for text, message in (("4,6,4", "classes 0 to 3"), ("4,nan,0", "must be finite"), ("a,6,0", "must be numbers")):
        table.write_text(f"x,y,class\n{text}\n")
        with pytest.raises(DataError, match=message):
            open_dataset(tmp_path)[0]


@pytest.mark.skipif(not (SHARED / "nucls_points").is_dir(), reason="the shared data sets are not here")
def test_the_real_points_are_all_there():
    dataset = open_dataset(SHARED / "nucls_points")
    counts = sum(np.bincount(image.point_classes, minlength=5) for image in dataset)
    assert counts.tolist() == [0, 89, 95, 323, 77]


@pytest.mark.parametrize(("side", "mpp"), [(200, 0.5), (400, 0.25)])
def test_endonuke(tmp_path, side, mpp):
    root = tmp_path / "dataset"
    save(picture(0, (side, side)), root / "images" / "1886.png")
    save(picture(1, (side, side)), root / "images" / "77.png")
    for annotator, name, text in (("ptg1", "1886", "10 20 0\n30 5 2\n"), ("stud3", "77", "")):
        (root / "labels" / "bulk" / annotator).mkdir(parents=True)
        (root / "labels" / "bulk" / annotator / f"{name}.txt").write_text(text)
    (root / "labels" / "agreement" / "hidden" / "ptg1").mkdir(parents=True)
    (root / "labels" / "agreement" / "hidden" / "ptg1" / "5.txt").write_text("1 1 0\n")
    dataset = open_dataset(tmp_path)
    assert (dataset.layout.name, dataset.names) == ("endonuke", ("1886", "77"))
    assert dataset.rows == open_dataset(root).rows
    assert (dataset[0].attributes["annotator"], dataset[0].mpp) == ("ptg1", mpp)
    assert dataset[0].points.tolist() == [[20, 10], [5, 30]]
    assert dataset[0].point_classes.tolist() == [1, 3]
    assert dataset[1].points.shape == (0, 2)
    (root / "labels" / "bulk" / "stud3" / "77.txt").write_text("1 2\n")
    with pytest.raises(DataError, match="three numbers, x y class"):
        dataset[1]


# ---------------------------------------------------------------- all of them


WRITERS = {
    "pannuke": write_pannuke,
    "monuseg": write_monuseg,
    "consep": write_consep,
    "lizard": write_lizard,
    "dsb2018": write_dsb,
}


@pytest.mark.parametrize("name", WRITERS)
def test_only_its_own_layout_is_recognised(tmp_path, name):
    WRITERS[name](tmp_path)
    assert open_dataset(tmp_path, mpp=0.25).layout.name == name


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_without_the_files_says_what_was_expected_and_found(tmp_path, name):
    (tmp_path / "holiday.txt").write_text("")
    with pytest.raises(DataError) as caught:
        open_dataset(f"{name}={tmp_path}", mpp=0.25)
    assert "holiday.txt" in str(caught.value) or "there is no Lizard_Labels" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "lizard"])
def test_the_same_set_twice_is_refused(tmp_path, name):
    WRITERS[name](tmp_path)
    first = next(path for path in sorted(tmp_path.iterdir()) if path.is_dir())
    shutil.copytree(first, tmp_path / f"{first.name} copy")
    with pytest.raises(DataError, match="have the same name; is the data set there twice"):
        open_dataset(tmp_path, mpp=0.25)
