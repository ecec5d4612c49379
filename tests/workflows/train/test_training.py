"""Training: resume gives the same weights, checkpoints refuse what they are not, a tiny run goes
from images to nuclei."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.draw import disk

from wsinuc.datasets.augmentation.augment import Augmentation, jitter_stain
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.patches import PatchSource
from wsinuc.errors import CheckpointError, DataError, DeviceError
from wsinuc.metrics.segmentation import score
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.devices import pick_device
from wsinuc.models.features.extractor import FeatureConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.orientation import dihedral
from wsinuc.segmenters import load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.ddpm import DdpmSegmenter
from wsinuc.workflows.data.training_set import NUCLEUS
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, train_ddpm
from wsinuc.workflows.train.ensemble import EnsembleFitConfig
from wsinuc.workflows.train.finetune import FinetuneConfig, Taught, finetune, segmentation_loss
from wsinuc.workflows.train.pixel_table import SamplingConfig
from wsinuc.workflows.train.soft_crops import SoftCropSource
from wsinuc.workflows.training.run import Session

UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
PRETRAIN = PretrainConfig(patch=16, batch=2, unet=UNET, fit=FitConfig(steps=4, lr=1e-3, save_every=2))
TRAIN = DdpmTrainConfig(
    features=FeatureConfig(timesteps=(20,), blocks=(1, 2, 3)),
    sampling=SamplingConfig(visits=3, pixels=300),
    fit=EnsembleFitConfig(epochs=30, batch=128),
    members=2,
)


def field(seed: int) -> LabelledImage:
    """Dark discs on a pale ground."""
    rng = np.random.default_rng(seed)
    image, labels = np.full((128, 128, 3), (225, 190, 215), np.uint8), np.zeros((128, 128), np.int32)
    for y in range(16, 128, 32):
        for x in range(16, 128, 32):
            rows, columns = disk((y + rng.integers(-4, 5), x + rng.integers(-4, 5)), 9)
            image[rows, columns], labels[rows, columns] = (90, 60, 140), labels.max() + 1
    noisy = image + rng.normal(0, 4, image.shape)
    return LabelledImage(
        name=f"field{seed}", image=noisy.clip(0, 255).astype(np.uint8), labels=labels, attributes={}, mpp=0.5
    )


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "denoiser.safetensors"
    pretrain([field(0).image], path, PRETRAIN)
    return path


@pytest.fixture(scope="module")
def model(denoiser: Path) -> Path:
    path = denoiser.with_name("model.safetensors")
    train_ddpm([field(1), field(2)], (NUCLEUS,), denoiser, path, TRAIN, device="cpu")
    return path


def test_patches_depend_on_seed_and_number_only() -> None:
    image = field(0).image
    source = PatchSource(images=[image, image[:20]], size=32, seed=5)
    assert np.array_equal(source.batch(3, 4), np.stack([source.patch(i) for i in range(12, 16)]))
    assert not np.array_equal(source.patch(0), replace(source, seed=6).patch(0))
    with pytest.raises(DataError, match="no images"):
        PatchSource(images=[], size=32, seed=0)


@pytest.mark.parametrize("zoom", [1.0, 1.3])
@pytest.mark.parametrize("shape", [(20, 100), (100, 20), (20, 20), (30, 36), (40, 200)])
def test_nuclei_keep_form_and_size_in_patches_of_small_images(shape: tuple[int, int], zoom: float) -> None:
    diameter = 13
    image = np.full((*shape, 3), 230, np.uint8)
    for y in range(9, shape[0] - 9, 20):
        for x in range(9, shape[1] - 9, 20):
            image[disk((y, x), diameter / 2)] = 40
    source = PatchSource(images=[image], size=32, seed=5, zoom=zoom, stain=0.0)
    sides = []
    for number in range(40):
        labels, _ = ndimage.label(source.patch(number)[..., 0] < 135)
        for rows, columns in ndimage.find_objects(labels):
            # Where the patch ends a disc may be cut, and where it is mirrored touch its mirror.
            if min(rows.start, columns.start) > 0 and max(rows.stop, columns.stop) < 32:
                sides.append((rows.stop - rows.start, columns.stop - columns.start))
    assert len(sides) > 5
    for height, width in sides:
        assert abs(height - width) <= 1
        assert diameter / zoom - 1.5 <= height <= diameter * zoom + 1.5


def test_stain_jitter_of_no_strength_changes_nothing_and_flips_undo() -> None:
    image, rng = field(0).image, np.random.default_rng(0)
    assert np.abs(jitter_stain(image, rng, 0.0).astype(int) - image).max() <= 1
    assert np.abs(jitter_stain(image, rng, 0.5).astype(int) - image).mean() > 3
    assert len({dihedral(image, k).tobytes() for k in range(8)}) == 8


def test_interrupted_pretraining_ends_with_the_same_weights(denoiser: Path, tmp_path: Path) -> None:
    path, calls = tmp_path / "again.safetensors", iter([False, True])
    pretrain([field(0).image], path, PRETRAIN, session=Session(should_stop=lambda: next(calls)))
    pretrain([field(0).image], path, PRETRAIN)
    once, twice = load_checkpoint(denoiser, "denoiser"), load_checkpoint(path, "denoiser")
    assert all(torch.equal(once.tensors[name], twice.tensors[name]) for name in once.tensors)


def test_a_trained_model_finds_the_discs(model: Path) -> None:
    segmenter = load_segmenter(str(model), device="cpu")
    assert isinstance(segmenter, Segmenter)
    sample = field(9)
    tile = np.full((1, segmenter.tile, segmenter.tile, 3), (225, 190, 215), np.uint8)
    margin = segmenter.margin
    tile[0, margin : margin + 128, margin : margin + 128] = sample.image
    scores = segmenter.predict(tile)
    stride = segmenter.tile - 2 * margin
    assert scores.shape == (1, segmenter.channels, stride, stride)
    labels = segmenter.separate(scores[0])[:128, :128]
    scored = score(sample.labels, labels)
    assert scored.dice > 0.75  # two steps of pre-training: enough to see that every part is connected rightly
    assert scored.aji > 0.3


def test_same_weights_same_identity_other_weights_another(model: Path, denoiser: Path) -> None:
    first, again = load_segmenter(str(model), device="cpu"), load_segmenter(str(model), device="cpu")
    assert first.identity == again.identity
    other = model.with_name("other.safetensors")
    shorter = replace(TRAIN, seed=1, fit=EnsembleFitConfig(epochs=1), fit_threshold=False)
    train_ddpm([field(1)], (NUCLEUS,), denoiser, other, shorter, device="cpu")
    assert load_segmenter(str(other), device="cpu").identity != first.identity


def test_fine_tuning_changes_the_denoiser_and_hv_separates(denoiser: Path, tmp_path: Path) -> None:
    path = tmp_path / "tuned.safetensors"
    schedule = FitConfig(steps=2, lr=1e-3)
    tuning = FinetuneConfig(fit=schedule, ensemble_fit=schedule, crop=64, batch=2)
    settings = replace(TRAIN, separation="hv", tuning=tuning, fit_threshold=False)
    train_ddpm([field(1)], (NUCLEUS,), denoiser, path, settings, device="cpu")
    tuned, frozen = load_checkpoint(path, "segmenter"), load_checkpoint(denoiser, "denoiser")
    assert not torch.allclose(tuned.tensors["denoiser.stem.weight"].float(), frozen.tensors["stem.weight"], atol=1e-6)
    segmenter = load_segmenter(str(path), device="cpu")
    assert segmenter.channels == 5
    assert segmenter.separate(np.zeros((5, 64, 64), np.uint8)).max() == 0


@pytest.mark.slow
def test_what_a_teacher_says_is_learnt_besides(model: Path, tmp_path: Path) -> None:
    """A teacher that calls all tissue nucleus makes more of it nucleus, the more so the less the annotation counts."""
    tissue = np.concatenate([np.moveaxis(field(2).image, 2, 0), np.full((4, 128, 128), 255, np.uint8)])
    source = SoftCropSource(
        read=lambda number: tissue,
        numbers=(0,),
        classes=1,
        separation="distance",
        mpp=0.5,
        step=1.0,
        size=64,
        seed=0,
        augmentation=Augmentation(),
    )
    schedule = FitConfig(steps=12, lr=2e-3, ema=0.5, bf16=False)
    config = FinetuneConfig(crop=64, batch=2, share=1.0, contact_weight=2.0)

    def nuclear(name: str, taught: Taught | None) -> float:
        torch.manual_seed(0)
        tuned = load_segmenter(str(model), device="cpu")
        assert isinstance(tuned, DdpmSegmenter)
        tuned.extractor.unet.float()
        state = tmp_path / f"{name}.state"
        finetune([field(1)], tuned.extractor, tuned.ensemble, 0.5, config, schedule, state=state, taught=taught)
        with torch.no_grad():
            pixels = torch.from_numpy(field(3).image).permute(2, 0, 1)[None].float() / 127.5 - 1
            raw = tuned.ensemble.raw(tuned.extractor.maps(pixels))
            return float(torch.stack([one[:, :2].softmax(1)[:, 1].mean() for one in raw]).mean())

    alone = nuclear("alone", None)
    little, much = (nuclear(str(w), Taught(source=source, label_weight=w)) for w in (4.0, 0.0))
    assert alone + 0.03 < little + 0.02 < much


def test_contacts_weigh_more_where_asked_to() -> None:
    truth = torch.zeros(1, 8, 8, dtype=torch.bool)
    raw, maps = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    raw[:, 1, :, :4] = 3.0  # wrong on the left
    importance = torch.ones(1, 8, 8)
    left, right = importance.clone(), importance.clone()
    left[..., :4], right[..., 4:] = 3.0, 3.0
    losses = [float(segmentation_loss(raw, truth, maps, 2.0, each)) for each in (right, importance, left)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[2]
    twice = float(segmentation_loss(raw, truth, maps, 2.0, 2 * importance))
    assert twice == pytest.approx(losses[1]), "only what differs counts"


def test_weights_survive_the_file(model: Path) -> None:
    checkpoint = load_checkpoint(model, "segmenter")
    segmenter = DdpmSegmenter.from_checkpoint(checkpoint, device=torch.device("cpu"), dtype=torch.float32)
    again = segmenter.to_checkpoint(checkpoint.provenance)
    # As in a file, which knows no tuples.
    assert json.loads(json.dumps(again.config)) == checkpoint.config
    assert again.tensors.keys() == checkpoint.tensors.keys()
    assert all(torch.equal(again.tensors[name], checkpoint.tensors[name]) for name in checkpoint.tensors)


def test_checkpoints_say_what_is_wrong(model: Path, denoiser: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights at"):
        load_checkpoint(tmp_path / "absent.safetensors", "segmenter")
    with pytest.raises(CheckpointError, match="holds a denoiser, but a segmenter is needed"):
        load_segmenter(str(denoiser), device="cpu")
    pickled = tmp_path / "pickle.safetensors"
    pickled.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(CheckpointError, match="pickle"):
        load_checkpoint(pickled, "segmenter")
    torch.save({"weights": torch.zeros(1)}, pickled)
    with pytest.raises(CheckpointError, match="pickle"):
        load_checkpoint(pickled, "segmenter")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(cut, "segmenter")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not written by wsinuc"):
        load_checkpoint(tmp_path / "foreign.safetensors", "segmenter")
    with pytest.raises(CheckpointError, match="no model is called 'nosuch'"):
        load_segmenter("nosuch", device="cpu")


def test_a_header_that_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(model, "segmenter")
    for change in ({"unet": {"base": 32, "surprise": 1}}, {"unet": {**checkpoint.config["unet"], "base": 64}}):
        path = tmp_path / "odd.safetensors"
        save_checkpoint(
            Checkpoint(
                kind="segmenter", config=checkpoint.config | change, provenance={}, tensors=dict(checkpoint.tensors)
            ),
            path,
        )
        with pytest.raises(CheckpointError):
            load_segmenter(str(path), device="cpu")


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "denoiser.safetensors"
    path.with_suffix(".state").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match="delete it to start anew"):
        pretrain([field(0).image], path, PRETRAIN)
    path.with_suffix(".state").unlink()
    pretrain([field(0).image], path, replace(PRETRAIN, fit=FitConfig(steps=1)))
    with pytest.raises(CheckpointError, match="another training"):
        pretrain([field(0).image], path, replace(PRETRAIN, unet=replace(UNET, base=64)))


def test_devices_that_are_not_there() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        pick_device("gpu")
    with pytest.raises(DeviceError, match="unknown device"):
        pick_device("cuda:x")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="sees 0 CUDA devices"):
            pick_device("cuda")


def test_nothing_to_learn_from_is_an_error(denoiser: Path, tmp_path: Path) -> None:
    empty = replace(field(1), labels=np.zeros((128, 128), np.int32))
    with pytest.raises(DataError, match="no annotated nucleus"):
        train_ddpm([empty], (NUCLEUS,), denoiser, tmp_path / "x.safetensors", TRAIN, device="cpu")
