"""Pre-training as a user sees it: sources, presets, what lies beside the checkpoint, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from helpers.files.guided import Published
from helpers.files.slides import write_pyramid
from wsinuc.datasets.sampling.patches import PatchSource, Prefetcher
from wsinuc.datasets.sampling.pixels import LazyImage, PixelCache, SlidePixels
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import CheckpointError, ConfigError, DataError, MppError, OutputError
from wsinuc.grid import Box
from wsinuc.models import devices
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.denoisers import load_denoiser
from wsinuc.models.networks.attention_unet import AttentionUNetConfig
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.training.loop import FitConfig
from wsinuc.models.training.state import read_log
from wsinuc.slides import open_slide
from wsinuc.workflows.data.sources import open_sources
from wsinuc.workflows.denoiser.report import estimate
from wsinuc.workflows.denoiser.run import PRESETS, PretrainConfig, pretrain
from wsinuc_cli.commands.pretrain.settings import pretrain_config
from wsinuc_cli.main import main

UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
TINY = PretrainConfig(
    patch=16, batch=4, unet=UNET, fit=FitConfig(steps=2, lr=1e-3, bf16=False), validation_patches=4, validate_every=4
)
GLASS, TISSUE = (240, 240, 240), (150, 80, 160)


def picture(seed: int = 0, side: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiled slide of 3000 x 3000 px at 0.25 um/px with one island of tissue."""
    pixels = np.full((3000, 3000, 3), GLASS, np.uint8)
    grain = np.random.default_rng(0).integers(-20, 20, (1000, 800, 3))
    pixels[1200:2200, 600:1400] = np.array(TISSUE) + grain
    path = tmp_path_factory.mktemp("slides") / "slide.tif"
    return write_pyramid(path, [pixels, pixels[::4, ::4].copy()])


def test_patches_of_a_slide_show_its_tissue_and_depend_on_their_number_only(slide: Path) -> None:
    (pixels,) = open_sources([slide], mpp=0.25, file_mpp=None, cache=PixelCache(2**22))
    assert isinstance(pixels, SlidePixels)
    source = PatchSource(images=[pixels], size=64, seed=3, zoom=1.0, stain=0.0)
    batch = source.batch(0, 12)
    assert np.mean(batch[..., 1] < 150) > 0.6, "most of the patches' pixels are tissue, of the slide's a tenth"
    assert np.array_equal(source.patch(7), batch[7])
    (again,) = open_sources([slide], mpp=0.25, file_mpp=None, cache=PixelCache(0))
    assert np.array_equal(replace(source, images=[again]).batch(0, 12), batch), "the cache changes speed alone"


def test_windows_of_a_slide_are_its_pixels_when_the_cache_holds_a_part_of_it(slide: Path) -> None:
    cache = PixelCache(10 * 256 * 256 * 3)
    (pixels,) = open_sources([slide], mpp=0.25, file_mpp=None, cache=cache)
    with open_slide(slide) as whole:
        for y, x in np.random.default_rng(0).integers(0, 2700, (12, 2)).tolist():
            box = Box(y, x, y + 300, x + 290)
            assert np.array_equal(pixels[box.slices], whole.read(box))


def test_glass_alone_is_no_source(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "glass.tif", [np.full((2200, 2200, 3), GLASS, np.uint8)])
    with pytest.raises(DataError, match="no tissue"):
        open_sources([path], mpp=0.25, file_mpp=None)


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache, read = PixelCache(3 * 12), []

    def get(name: str) -> None:
        cache.read(name, lambda: read.append(name) or np.zeros((2, 2, 3), np.uint8))

    for name in "abcab":
        get(name)
    assert read == ["a", "b", "c"]
    get("d")  # c was used longest ago
    for name in "abc":
        get(name)
    assert read == ["a", "b", "c", "d", "c"]
    PixelCache(5).read("large", lambda: np.zeros((2, 2, 3), np.uint8))
    image = LazyImage.of(lambda: picture(), PixelCache(0))
    assert image.shape == (48, 48, 3)
    assert np.array_equal(image[3:9, 4:8], picture()[3:9, 4:8])


def test_arrays_and_files_of_the_same_pixels_give_the_same_patches(tmp_path: Path) -> None:
    for i in range(2):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    (tmp_path / "README.md").write_text("no image")
    found = open_sources([tmp_path], mpp=0.5, file_mpp=0.5)
    assert len(found) == 2
    from_files = PatchSource(images=found, size=16, seed=1).batch(0, 6)
    from_arrays = PatchSource(images=[picture(0), picture(1)], size=16, seed=1).batch(0, 6)
    assert np.array_equal(from_files, from_arrays)


def test_data_sets_are_read_through_their_layout(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(picture(5)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.ones((48, 48), np.uint16)).save(tmp_path / "labels" / "a.png")
    (tmp_path / "manifest.csv").write_text("name,mpp\na,0.25\n")
    for source in (tmp_path, f"folder={tmp_path}"):
        (image,) = open_sources([source], mpp=0.5, file_mpp=None)
        assert image.shape == (24, 24, 3), "its own 0.25 um/px are halved to 0.5"
    (tmp_path / "manifest.csv").write_text("name\na\n")
    with pytest.raises(MppError):
        open_sources([tmp_path], mpp=0.5, file_mpp=None)
    assert open_sources([tmp_path], mpp=0.5, file_mpp=0.5)[0].shape == (48, 48, 3)


def test_missing_sources_and_resolutions_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="check the path"):
        open_sources([tmp_path / "absent"], mpp=0.5, file_mpp=None)
    with pytest.raises(DataError, match="holds images"):
        open_sources([tmp_path], mpp=0.5, file_mpp=None)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with pytest.raises(MppError):
        open_sources([tmp_path], mpp=0.5, file_mpp=None)


def test_values_computed_ahead_are_the_values() -> None:
    ahead = Prefetcher(lambda k: np.array([k * k]), threads=2, stride=2)
    assert [int(ahead(k)[0]) for k in (1, 3, 5, 0, 100, 102)] == [1, 9, 25, 0, 10_000, 10_404]
    ahead.close()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"unet": replace(UNET, out_channels=6)},
        {"unet": AttentionUNetConfig(dim=16, multipliers=(1, 2)), "betas": "quadratic", "p2": (1.0, 1.0)},
    ],
    ids=["method A", "learned variance", "method D"],
)
def test_a_training_leaves_a_checkpoint_that_names_its_network_and_noise(change: dict, tmp_path: Path) -> None:
    out, config = tmp_path / "d.safetensors", replace(TINY, **change)
    pretrain([picture(0), picture(1)], out, config, provenance={"sources": ["here"]})
    checkpoint = load_checkpoint(out, "denoiser")
    network, process = load_denoiser(checkpoint)
    assert network.config == config.unet
    assert checkpoint.config["betas"] == config.betas
    assert checkpoint.config["learned_variance"] == config.learned_variance
    assert checkpoint.provenance["sources"] == ["here"]
    assert checkpoint.provenance["training"]["batch"] == 4
    with torch.no_grad():
        out_shape = network(torch.zeros(1, 3, 16, 16), torch.tensor([process.steps - 1])).shape
    assert out_shape[1] == config.unet.out_channels


def test_beside_the_checkpoint_lie_log_curves_samples_and_the_best(tmp_path: Path) -> None:
    out = tmp_path / "d.safetensors"
    config = replace(TINY, sample_every=4, held_out=0.5)
    pretrain([picture(0), picture(1)], out, config)
    lines = read_log(out.with_suffix(".jsonl"))
    assert [line["images"] for line in lines] == [4, 8]
    assert all(line["validation"] > 0 and line["images_per_s"] > 0 for line in lines)
    grid = Image.open(tmp_path / "d.samples" / "0000000008.png")
    assert grid.size == (64, 64)
    assert Image.open(tmp_path / "d.png").width > 300
    best = load_checkpoint(tmp_path / "d.best.safetensors", "denoiser")
    assert best.provenance["held_out_loss"] == min(line["validation"] for line in lines)


def test_first_weights_may_come_from_a_denoiser_of_the_same_shape_only(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    pretrain([picture()], first, TINY)
    frozen = replace(TINY, fit=replace(TINY.fit, lr=1e-12))
    pretrain([picture()], second, frozen, init=first)
    one, two = load_checkpoint(first, "denoiser"), load_checkpoint(second, "denoiser")
    assert all(torch.allclose(one.tensors[name], two.tensors[name], atol=1e-6) for name in one.tensors)
    assert two.provenance["init_name"] == "a.safetensors"
    with pytest.raises(CheckpointError, match="another shape"):
        pretrain([picture()], tmp_path / "c.safetensors", replace(TINY, unet=replace(UNET, base=64)), init=first)
    with pytest.raises(CheckpointError, match="init was"):
        pretrain([picture()], second, TINY)


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for change, words in (
        ({"patch": 15}, "multiple of 2 px"),
        ({"patch": 0}, "multiple of 2 px"),
        ({"batch": 3, "fit": FitConfig(steps=1, accumulate=2)}, "shared out to 2 passes"),
        ({"betas": "sqrt"}, "no noise schedule"),
        ({"held_out": 1.0}, "between 0 and 1"),
        ({"unet": replace(UNET, out_channels=4)}, "as many channels"),
        # Nobody could open the model.
        ({"unet": replace(UNET, base=4000)}, "no model is made with these settings: base"),
        ({"mpp": 25.0}, "a model's mpp must lie between 0.05 and 2.0"),
    ):
        with pytest.raises(ConfigError, match=words):
            replace(TINY, **change)
    with pytest.raises(OutputError, match="there is no folder"):
        pretrain([picture()], tmp_path / "absent" / "d.safetensors", TINY)


def test_presets_are_the_published_configurations() -> None:
    paper = PRESETS["paper"]
    assert [paper.unet.decoder_channels[b] for b in (6, 8, 10, 12)] == [256, 256, 256, 128]
    assert (paper.betas, paper.fit.lr, paper.fit.ema, paper.fit.steps) == ("linear", 1e-4, 0.9999, 50_000)
    assert PRESETS["small"].unet == replace(paper.unet, base=64)
    d = PRESETS["genselfdiff"]
    assert (d.unet, d.betas, d.p2, d.batch) == (AttentionUNetConfig(), "quadratic", (1.0, 1.0), 8)
    assert pretrain_config("ddpm", "cpu", {"seed": 0}) == PRESETS["cpu"]
    assert pretrain_config("ddpm", "paper", {"learn_variance": True}).learned_variance
    assert pretrain_config("ddpm", "genselfdiff", {"base": 32}).unet.dim == 32
    assert pretrain_config("ddpm", "small", {"images_seen": 3200, "batch": 32}).fit.steps == 100
    with pytest.raises(ConfigError, match="give one of them"):
        pretrain_config("ddpm", "cpu", {"steps": 1, "images_seen": 16})


def test_the_estimate_counts_what_the_network_does() -> None:
    found = estimate(PRESETS["genselfdiff"])
    assert found.parameters / 1e6 == pytest.approx(31.27, abs=0.01)
    assert found.flops_per_step / 1e9 == pytest.approx(3 * 8 * 152, rel=0.01)
    halved = estimate(replace(PRESETS["genselfdiff"], fit=FitConfig(steps=1, accumulate=2)))
    weights = 20 * found.parameters
    assert halved.memory_bytes - weights == pytest.approx((found.memory_bytes - weights) / 2)


@pytest.mark.parametrize("gains", [True, False])
def test_the_estimate_knows_whether_the_device_computes_in_bf16(gains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(PRESETS["cpu"], fit=FitConfig(steps=1))
    dtype = torch.bfloat16 if gains else torch.float32
    monkeypatch.setattr(devices, "pick_dtype", lambda device: dtype)
    chosen = replace(config, fit=FitConfig(steps=1, bf16=gains))
    other = replace(config, fit=FitConfig(steps=1, bf16=not gains))
    assert estimate(config) == estimate(chosen)
    assert estimate(config) != estimate(other)


def test_the_command_says_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    out = tmp_path / "d.safetensors"
    command = ["pretrain", str(tmp_path / "a.png"), "-o", str(out), "--mpp", "0.5", "--patch", "16", "--batch", "2"]
    said = CliRunner().invoke(main, [*command, "--device", "cpu", "--dry-run"])
    assert said.exit_code == 0, said.output
    assert "1 images, 0.0 Mpx at 0.5 um/px" in said.output
    assert "4.90 M parameters to learn" in said.output
    assert not out.exists()
    log = tmp_path / "training.log"
    options = ["--device", "cpu", "--images-seen", "2", "--accumulate", "2", "--log", str(log)]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 0, done.output
    assert load_checkpoint(out, "denoiser").provenance["preset"] == "cpu"
    assert " 2 images  loss " in log.read_text()
    assert json.loads(out.with_suffix(".jsonl").read_text())["images"] == 2
    other = CliRunner().invoke(main, [*command, "--device", "cpu", "--images-seen", "4", "--seed", "1"])
    assert other.exit_code == 1
    assert "seed was 0, now 1" in other.output


def test_public_weights_start_a_training(tmp_path: Path) -> None:
    config = replace(UNET, res_blocks=2, middle_attention=True)
    torch.save(Published(config).state, tmp_path / "guided.pt")
    pretrain([picture()], tmp_path / "d.safetensors", replace(TINY, unet=config), init=tmp_path / "guided.pt")
    network, _ = load_denoiser(load_checkpoint(tmp_path / "d.safetensors", "denoiser"))
    assert isinstance(network, UNet)
    other = replace(TINY, unet=AttentionUNetConfig(dim=16, multipliers=(1, 2)))
    with pytest.raises(CheckpointError, match="attention U-Net cannot take"):
        pretrain([picture()], tmp_path / "e.safetensors", other, init=tmp_path / "guided.pt")


def test_a_split_keeps_the_test_part_out_of_the_pre_training(tmp_path: Path) -> None:
    """Method A's protocol: what is segmented in the end is not even seen without labels."""
    for name in ("images", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for index in range(3):
        Image.fromarray(picture(index)).save(tmp_path / "set" / "images" / f"i{index}.png")
        Image.fromarray(np.zeros((48, 48), np.uint16)).save(tmp_path / "set" / "labels" / f"i{index}.png")
    rows = [f"i{index},p{index}" for index in range(3)]
    (tmp_path / "set" / "manifest.csv").write_text("\n".join(["name,patient", *rows]) + "\n")
    split = tmp_path / "split.json"
    parts = {"train": (("i0", None), ("i2", None)), "test": (("i1", None),)}
    Split(parts=parts, dataset="folder", seed=0).save(split)

    def seen(*options: str) -> str:
        command = [
            "pretrain",
            str(tmp_path / "set"),
            "--mpp",
            "0.5",
            "--dry-run",
            "-o",
            str(tmp_path / "d.safetensors"),
        ]
        done = CliRunner().invoke(main, [*command, *options])
        return done.output

    assert seen().startswith("3 images, ")
    assert seen("--split", str(split)).startswith("2 images, ")
    assert seen("--split", str(split), "--part", "test").startswith("1 images, ")
    assert seen("--split", str(split), "--where", "patient=p2").startswith("1 images, ")
    assert seen("--where-not", "patient=p0,p1").startswith("1 images, ")
    assert "has the attribute pateint" in seen("--where", "pateint=p0")


def test_a_split_without_a_data_set_is_refused(slide: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    Split(parts={"train": (("i0", None),)}, dataset="folder", seed=0).save(split)
    command = ["pretrain", str(slide), "--split", str(split), "--dry-run", "-o", str(tmp_path / "d.safetensors")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "none of the sources is one" in done.output
