"""Rows for pixel classifiers: which pixels, which targets, within which memory; and the training around them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import load_segmenter
from wsinuc.workflows.train.cost import ddpm_cost
from wsinuc.workflows.train.ddpm import DdpmTrainConfig, train_ddpm
from wsinuc.workflows.train.ensemble import EnsembleFitConfig
from wsinuc.workflows.train.pixel_table import (
    IGNORED,
    RowStore,
    SamplingConfig,
    choose_pixels,
    class_targets,
    collect_pixels,
    view_of,
)

UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
TWO = (NucleusClass("Round", (255, 0, 0)), NucleusClass("Pale", (0, 0, 255)))
PLAIN = SamplingConfig(visits=1, zoom=1.0, stain=0.0, turn=False, shift=False, background_share=1.0)


def sample(side: int = 64) -> LabelledImage:
    """A dark nucleus, a pale one and one of unknown class on a bright ground."""
    image, labels = np.full((side, side, 3), 230, np.uint8), np.zeros((side, side), np.int32)
    for number, (x, grey) in enumerate([(4, 40), (24, 120), (44, 80)], start=1):
        labels[8:24, x : x + 16], image[8:24, x : x + 16] = number, grey
    classes = np.array([0, 1, 2, 0], np.int32)
    return LabelledImage(name="three", image=image, labels=labels, attributes={}, mpp=0.5, classes=classes)


def extractor() -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(UNet(UNET), GaussianDiffusion(), FeatureConfig(timesteps=(5,), blocks=(0, 3)))


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    path = tmp_path / "denoiser.safetensors"
    torch.manual_seed(0)
    header = {"unet": {"base": 32, "multipliers": [1, 1], "res_blocks": 1, "attention_factors": []}, "mpp": 0.5}
    header["unet"]["middle_attention"] = False  # type: ignore[index]
    save_checkpoint(Checkpoint(kind="denoiser", config=header, provenance={}, tensors=UNet(UNET).state_dict()), path)
    return path


def test_class_of_pixels() -> None:
    item = sample()
    wanted = class_targets(item.labels, item.classes)
    assert [int(wanted[10, x]) for x in (0, 5, 25, 45)] == [0, 1, 2, IGNORED]
    assert set(np.unique(class_targets(item.labels, None))) == {0, 1}
    rare = np.where(item.labels == 2, 0, item.labels)
    rare[0, :19] = 2
    assert not (class_targets(rare, item.classes, 20) == 2).any()
    rare[0, 19] = 2
    assert (class_targets(rare, item.classes, 20) == 2).sum() == 20


@pytest.mark.parametrize(("share", "seed"), [(0.05, 0), (0.1, 1), (0.33, 2), (0.5, 3), (0.9, 4), (1.0, 5)])
def test_all_nuclei_and_a_share_of_the_background_are_kept(share: float, seed: int) -> None:
    wanted = class_targets(sample().labels, sample().classes)
    config = replace(PLAIN, pixels=None, background_share=share)
    points = choose_pixels(wanted, np.random.default_rng(seed), config)
    found = wanted[points[:, 0], points[:, 1]]
    assert len(np.unique(points, axis=0)) == len(points)
    assert (found != 0).sum() == (wanted != 0).sum()
    background = (wanted == 0).sum()
    kept = binomtest(int((found == 0).sum()), int(background), share)
    # Five standard deviations where the count is normally distributed; exact where it is not.
    assert kept.pvalue > 5.7e-7
    without = choose_pixels(wanted, np.random.default_rng(seed), replace(config, ignored_rows=False))
    assert (wanted[without[:, 0], without[:, 1]] != IGNORED).all()
    assert len(without) == len(points) - (wanted == IGNORED).sum()
    assert len(choose_pixels(wanted, np.random.default_rng(seed), replace(config, pixels=50))) == 50


def test_large_images_are_cropped_to_the_view() -> None:
    image, labels = view_of(sample(200), 0.5, np.random.default_rng(0), replace(PLAIN, view=96))
    assert image.shape == (96, 96, 3)
    assert labels.shape == (96, 96)
    assert view_of(sample(), 0.25, np.random.default_rng(0), PLAIN)[1].shape == (128, 128)


def test_the_table_holds_the_features_of_the_chosen_pixels() -> None:
    table = collect_pixels([sample()], extractor(), 0.5, replace(PLAIN, pixels=None))
    assert table.features.shape == (64 * 64, 64)
    assert table.features.dtype == torch.float16
    pixels = torch.from_numpy(sample().image).permute(2, 0, 1)[None].float() / 127.5 - 1
    finest = extractor()(pixels)[1][0]  # the whole image, in raster order
    torch.testing.assert_close(table.features[:, :32].T.reshape(32, 64, 64).float(), finest, rtol=2e-3, atol=2e-3)
    assert table.classes.reshape(64, 64)[10, 45] == IGNORED
    assert float(table.maps.reshape(64, 64)[16, 52]) > 0.8, "a nucleus of unknown class still has a centre"


def test_rows_beyond_the_budget_are_mapped_and_the_same(tmp_path: Path) -> None:
    inside = collect_pixels([sample()], extractor(), 0.5, PLAIN, seed=3, folder=tmp_path)
    beyond = collect_pixels([sample()], extractor(), 0.5, replace(PLAIN, memory_gib=1e-6), seed=3, folder=tmp_path)
    assert torch.equal(inside.features, beyond.features)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_rows_are_never_copied() -> None:
    store = RowStore(256, 4100, 1.0, Path("."))
    before = store._memory
    for value in range(40):
        store.append(torch.full((100, 256), value))
    rows = store.finish()
    assert rows.shape == (4000, 256)
    assert before is not None
    assert rows.data_ptr() == before.data_ptr()
    assert rows[::100, 0].tolist() == list(range(40))


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    store = RowStore(8, None, 1.0, tmp_path / "absent")
    with pytest.raises(OutputError, match="read fewer pixels per visit"):
        store.append(torch.ones(4, 8))


def test_two_classes_are_told_apart(denoiser: Path, tmp_path: Path) -> None:
    """Also with the published network and its majority vote; the unknown class counts as one of the two."""
    quick = EnsembleFitConfig(epochs=30, batch=128)
    features = FeatureConfig(timesteps=(5,), blocks=(1, 3))
    config = DdpmTrainConfig(
        features=features,
        fit=quick,
        fit_threshold=False,
        sampling=replace(PLAIN, pixels=None),
        members=3,
        norm="batch",
        vote="majority",
    )
    out = tmp_path / "two.safetensors"
    train_ddpm([sample()], TWO, denoiser, out, config, device="cpu")
    segmenter = load_segmenter(str(out), device="cpu")
    assert segmenter.classes == TWO
    assert segmenter.channels == 2 + 2 + 1
    pixels = np.full((1, 512, 512, 3), 230, np.uint8)
    pixels[0, 32:96, 32:96] = sample().image
    scores = segmenter.predict(pixels)[0]
    assert scores[0, 12:20, 8:16].min() > 127
    assert scores[0, 40:60].max() < 128
    assert scores[2, 12:20, 8:16].mean() > scores[3, 12:20, 8:16].mean()
    assert scores[3, 12:20, 28:36].mean() > scores[2, 12:20, 28:36].mean()
    assert load_checkpoint(out, "segmenter").provenance["training"]["vote"] == "majority"


def test_correcting_the_background_gives_it_back_its_odds(denoiser: Path, tmp_path: Path) -> None:
    sampling = replace(PLAIN, background_share=0.1, pixels=200)
    config = DdpmTrainConfig(
        features=FeatureConfig(timesteps=(5,), blocks=(1,)),
        sampling=sampling,
        fit=EnsembleFitConfig(epochs=1),
        fit_threshold=False,
    )
    biases = []
    for correct in (False, True):
        out = tmp_path / f"{correct}.safetensors"
        train_ddpm([sample()], TWO, denoiser, out, replace(config, correct_background=correct), device="cpu")
        biases.append(load_checkpoint(out, "segmenter").tensors["ensemble.third_bias"])
    torch.testing.assert_close(biases[1][..., 0] - biases[0][..., 0], torch.full((5, 1), np.log(10)).float())
    assert torch.equal(biases[1][..., 1:], biases[0][..., 1:])


def test_the_published_values() -> None:
    paper = DdpmTrainConfig.paper()
    assert not DdpmTrainConfig.paper().fit_threshold  # the majority decides, not a level
    assert (paper.members, paper.hidden, paper.inner, paper.norm, paper.vote) == (10, 128, 32, "batch", "majority")
    assert (paper.fit.lr, paper.fit.batch, paper.fit.epochs, paper.fit.patience) == (1e-3, 64, 100, 50)
    assert (paper.fit.patience_after, paper.fit.init_std, paper.fit.weight_decay) == (3, 0.02, 0.0)
    assert not paper.fit.cosine
    assert not paper.correct_background
    assert (paper.sampling.background_share, paper.sampling.pixels, paper.sampling.visits) == (0.1, None, 1)
    assert paper.features == FeatureConfig(timesteps=(50, 150, 250), blocks=(6, 8, 10, 12))


def test_what_cannot_be_learnt_is_refused(denoiser: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    config = DdpmTrainConfig(features=FeatureConfig(timesteps=(5,), blocks=(1,)), sampling=PLAIN)
    with pytest.raises(DataError, match=r"three has nuclei of class 2, but only 1 are to be learned: Round"):
        train_ddpm([sample()], TWO[:1], denoiser, out, config, device="cpu")
    with pytest.raises(DataError, match="no class to learn"):
        train_ddpm([sample()], (), denoiser, out, config, device="cpu")
    with pytest.raises(DataError, match="no annotated nucleus"):
        train_ddpm([], TWO, denoiser, out, config, device="cpu")
    with pytest.raises(ConfigError, match="decoder blocks run from 0 to 3"):
        train_ddpm([sample()], TWO, denoiser, out, replace(config, features=FeatureConfig()), device="cpu")
    with pytest.raises(ConfigError, match="background_share"):
        SamplingConfig(background_share=0.0)
    with pytest.raises(ConfigError, match="separation must be one of"):
        DdpmTrainConfig(separation="none")
    # Counted from the end, it would be the last of all.
    with pytest.raises(ConfigError, match="timesteps count from 0"):
        FeatureConfig(timesteps=(5, -1))


@pytest.mark.parametrize(
    ("members", "names", "message"),
    [(65, ("a", "b"), r"no model is made with these settings: .*members"), (1, ("Tumor: Positive", "b"), "QuPath")],
)
def test_no_training_ends_in_a_model_that_cannot_be_used(
    members: int, names: tuple[str, str], message: str, denoiser: Path, tmp_path: Path
) -> None:
    classes = tuple(NucleusClass(name, (1, 2, 3)) for name in names)
    config = DdpmTrainConfig(features=FeatureConfig(timesteps=(5,), blocks=(1,)), members=members)
    events: list[str] = []
    with pytest.raises((ConfigError, DataError), match=message):
        train_ddpm([sample()], classes, denoiser, tmp_path / "x.safetensors", config, on_event=events.append)
    with pytest.raises((ConfigError, DataError), match=message):
        ddpm_cost([sample()], config, classes, denoiser)
    assert events == []
