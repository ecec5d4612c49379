"""Networks that segment in one pass: what they share, and how they behave as segmenters."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.grid import Box, TileGrid
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.networks.by_name import NETWORKS, build_network, default_tiling
from wsinuc.models.networks.dense import FinetunedDenoiser
from wsinuc.models.networks.fusion import fuse_norms
from wsinuc.models.networks.supervised_unet import SupervisedUNet, SupervisedUNetConfig, folded
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import METHODS, load_segmenter
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.network import NetworkConfig, NetworkSegmenter, network_checkpoint

TWO = (NucleusClass("dark", (0, 0, 200)), NucleusClass("red", (200, 0, 0)))
UNET = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
SHAPES = {
    "finetune": {"denoiser": {"unet": json.loads(json.dumps(asdict(UNET)))}, "classes": 3, "maps": 1},
    "unet": {"classes": 3, "maps": 1, "base": 4, "levels": 3},
    "attention-unet": {"classes": 3, "maps": 1, "base": 4, "levels": 3},
    "hovernet": {"classes": 3, "maps": 2, "width": 1 / 16},
}


def config_of(method: str, **changes: object) -> NetworkConfig:
    separation = "hv" if method == "hovernet" else "distance"
    config = NetworkConfig.describe(method, SHAPES[method], mpp=0.5, separation=separation, classes=TWO)
    return replace(config, **changes)


def network_of(config: NetworkConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return lively(build_network(config.method, config.network))


def segmenter_of(method: str, **changes: object) -> NetworkSegmenter:
    config = config_of(method, **changes)
    return NetworkSegmenter(config, network_of(config), device=torch.device("cpu"))


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Normalisations with statistics as after a training, so that random weights give varied scores."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.constant_(module.running_var, 0.3)
    return network


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", NETWORKS)
def test_scores_have_the_shape_that_the_pipeline_expects(method: str) -> None:
    segmenter = segmenter_of(method, tile=128, margin=48)
    assert isinstance(segmenter, Segmenter)
    scores = segmenter.predict(tissue(256, 128).reshape(2, 128, 128, 3))
    assert scores.shape == (2, segmenter.channels, 32, 32)
    assert scores.dtype == np.uint8
    assert segmenter.channels == 2 + 2 + segmenter.config.network["maps"]
    assert scores[:, 0].std() > 0
    assert scores[:, 1].max() == 0  # one network agrees with itself
    labels = segmenter.separate(scores[0])
    assert labels.shape == (32, 32)


@pytest.mark.parametrize("method", ["finetune", "unet"])
def test_background_and_classes_add_up(method: str) -> None:
    scores = segmenter_of(method, tile=128, margin=48).predict(tissue(128, 128)[None]).astype(int)
    assert np.abs(scores[:, 0] - scores[:, 2:4].sum(1)).max() <= 2


def whole(segmenter: NetworkSegmenter, plane: np.ndarray, box: Box) -> np.ndarray:
    """Scores of a box, put together from tiles."""
    result = np.zeros((segmenter.channels, *box.shape), np.uint8)
    for tile in TileGrid(segmenter.tile, segmenter.margin).covering(box):
        scores = segmenter.predict(plane[tile.read.slices][None])[0]
        kept = tile.core.clip(box)
        result[:, *kept.relative_to(box).slices] = scores[:, *kept.relative_to(tile.core).slices]
    return result


@pytest.mark.parametrize(
    ("method", "margin", "cores"),
    [("unet", 24, (32, 64)), ("attention-unet", 24, (32, 64)), ("hovernet", 112, (32, 48))],
)
def test_another_tile_grid_changes_nothing_with_batch_normalisation(
    method: str, margin: int, cores: tuple[int, int]
) -> None:
    plane, box = tissue(420, 420), Box(200, 200, 250, 230)
    one, two = (whole(segmenter_of(method, tile=core + 2 * margin, margin=margin), plane, box) for core in cores)
    # The last bit of a convolution may depend on its size, and a score then fall on the other side of a level.
    assert np.abs(one.astype(int) - two).max() <= 1
    assert (one != two).mean() < 1e-3
    assert one[0].std() > 0.5


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("smooth", [False, True])
def test_the_plain_unet_has_the_margin_that_its_reach_asks_for(smooth: bool, fold: int) -> None:
    for levels in (1, 2, 3):
        config = SupervisedUNetConfig(classes=2, maps=1, base=2, levels=levels, smooth=smooth, fold=fold)
        tile, margin = default_tiling("unet", asdict(config))
        assert margin >= config.reach
        assert margin % config.stride == tile % config.stride == (tile - 2 * margin) % 64 == 0
        assert reach(config) == config.reach


def test_a_smooth_unet_moves_with_its_image() -> None:
    """Moved by a pixel, which no pooling of two allows for, random weights: how much else changes than the place?"""

    def change(smooth: bool) -> float:
        torch.manual_seed(0)
        network = SupervisedUNet(SupervisedUNetConfig(classes=2, maps=1, base=8, levels=4, smooth=smooth)).eval()
        x = torch.from_numpy(tissue(256, 256)).permute(2, 0, 1)[None].float() / 127.5 - 1
        here = network(x).maps[..., 96:160, 96:160]
        there = network(x.roll((1, 1), (2, 3))).maps[..., 97:161, 97:161]
        return float((here - there).abs().mean() / here.std())

    with torch.no_grad():
        assert change(True) < 0.35 * change(False)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(("levels", "fold", "blur"), [(1, 1, 1), (2, 1, 5), (4, 2, 5), (3, 3, 1)])
@pytest.mark.parametrize("drop", [0, 1, 7, 24])
def test_the_inner_part_is_that_of_the_whole(smooth: bool, levels: int, fold: int, blur: int, drop: int) -> None:
    torch.manual_seed(0)
    shape = {"classes": 3, "maps": 1, "base": 4, "levels": levels, "smooth": smooth, "fold": fold, "blur": blur}
    network = SupervisedUNet(SupervisedUNetConfig(**shape)).eval()
    x = torch.rand(1, 3, 96, 144) * 2 - 1
    found, expected = network.inner(x, drop), network(x)
    assert found.maps.shape[-2:] == (96 - 2 * drop, 144 - 2 * drop)
    for name in ("classes", "maps"):
        kept = getattr(expected, name)[..., drop : 96 - drop, drop : 144 - drop]
        torch.testing.assert_close(getattr(found, name), kept, atol=1e-5, rtol=1e-4)


def test_a_blurred_image_loses_what_the_coarser_grid_cannot_hold() -> None:
    torch.manual_seed(0)
    shape = {"classes": 2, "maps": 1, "base": 4, "levels": 2, "smooth": True, "fold": 2}
    sharp, blurred = (SupervisedUNet(SupervisedUNetConfig(**shape, blur=taps)).eval() for taps in (1, 5))
    blurred.load_state_dict(sharp.state_dict())
    board = torch.ones(1, 3, 48, 48)
    board[..., ::2, 1::2] = board[..., 1::2, ::2] = -1
    inner = (..., slice(16, 32), slice(16, 32))
    grey = sharp(torch.zeros_like(board)).maps[inner]
    torch.testing.assert_close(blurred(board).maps[inner], grey)
    assert (sharp(board).maps[inner] - grey).abs().max() > 1e-3
    flat = torch.full((1, 3, 48, 48), 0.3)
    torch.testing.assert_close(blurred(flat).maps[inner], sharp(flat).maps[inner])
    with pytest.raises(ConfigError, match="odd number of taps, got 4"):
        SupervisedUNetConfig(**shape, blur=4)


def test_a_folded_unet_begins_as_the_plain_one_at_coarser_pixels() -> None:
    torch.manual_seed(0)
    shape = {"classes": 3, "maps": 1, "base": 4, "levels": 3, "smooth": True}
    plain, fine = (SupervisedUNet(SupervisedUNetConfig(**shape, fold=fold)).eval() for fold in (1, 2))
    fine.load_state_dict(folded(plain.state_dict(), 2))
    x = torch.rand(2, 3, 32, 48)
    noise = torch.randn(2, 3, 32, 2, 48, 2)
    squares = x[:, :, :, None, :, None] + noise - noise.mean((3, 5), keepdim=True)
    with torch.no_grad():
        coarse, found = plain(x), fine(squares.reshape(2, 3, 64, 96))
    for one, other in ((coarse.classes, found.classes), (coarse.maps, found.maps)):
        repeated = one.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(other, repeated, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match="at least 1 px"):
        SupervisedUNetConfig(**shape, fold=0)


def reach(config: SupervisedUNetConfig) -> int:
    """How far from a pixel the farthest input with any influence lies, by differentiation."""
    network = SupervisedUNet(config).double().eval()
    if not config.smooth:
        network.pool = torch.nn.AvgPool2d(2)  # passes on every pixel, not the largest alone
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.constant_(module.weight, 0.01)
            if module.bias is not None:
                torch.nn.init.constant_(module.bias, 0.01)  # a negative one would let ReLU hide what is behind
    farthest = 0
    for middle in range(64, 64 + config.stride):
        x = torch.rand(1, 3, 128, 128, dtype=torch.double, requires_grad=True)
        network(x).classes[0, 0, middle, middle].backward()
        seen = x.grad.abs().sum((0, 1)).nonzero()
        farthest = max(farthest, int((seen - middle).abs().max()))
    return farthest


def test_the_denoiser_is_taken_over_without_its_head() -> None:
    denoiser = UNet(UNET)
    weights = {k: v.clone() for k, v in denoiser.state_dict().items()}
    network = FinetunedDenoiser(denoiser, classes=3, maps=1)
    names = set(network.state_dict())
    assert {f"denoiser.{k}" for k in weights if not k.startswith("head.")} == {n for n in names if n[0] == "d"}
    x = torch.rand(2, 3, 16, 16)
    original = UNet(UNET)
    original.load_state_dict(weights)
    features = original.activations(x, torch.zeros(2, dtype=torch.long), (len(UNET.decoder_channels) - 1,))[0]
    raw = network.head(features)
    out = network(x)
    torch.testing.assert_close(torch.cat([out.classes, out.maps], 1), raw)
    assert out.classes.shape == (2, 3, 16, 16)


def test_attention_sees_the_whole_tile_so_tiles_stay_small() -> None:
    assert default_tiling("finetune", SHAPES["finetune"]) == (448, 32)
    seeing = {"denoiser": {"unet": {"middle_attention": True, "attention_factors": []}}}
    assert default_tiling("finetune", seeing) == (256, 32)
    with pytest.raises(ConfigError, match="no network is called 'ddpm'"):
        default_tiling("ddpm", {})


def test_calibration_fixes_group_norms_and_leaves_batch_norms() -> None:
    samples = tissue(256, 128).reshape(2, 128, 128, 3)
    plain = segmenter_of("unet")
    assert plain.calibrate(samples) is plain
    tuned = segmenter_of("finetune", tile=128, margin=32)
    fitted = tuned.calibrate(samples)
    dark = tissue(128, 128, seed=1)[None] // 4
    half = dark.copy()
    half[:, :, 96:] = 255
    before = [tuned.predict(tile)[..., :32].astype(int) for tile in (dark, half)]
    after = [fitted.predict(tile)[..., :32].astype(int) for tile in (dark, half)]
    assert np.abs(before[0] - before[1]).max() > 3  # what lies far away changes a tile's own statistics
    assert np.abs(after[0] - after[1]).max() <= 1


@pytest.mark.parametrize("method", NETWORKS)
def test_weights_survive_the_file(method: str, tmp_path: Path) -> None:
    segmenter, path = segmenter_of(method, tile=128, margin=48), tmp_path / "model.safetensors"
    save_checkpoint(
        network_checkpoint(segmenter.config, network_of(segmenter.config).state_dict(), {"data": "noise"}), path
    )
    loaded = load_segmenter(str(path), device="cpu")
    assert isinstance(loaded, NetworkSegmenter)
    assert loaded.config == segmenter.config
    assert loaded.mpp_range == (0.1, 1.1)
    tile = tissue(128, 128)[None]
    assert np.abs(loaded.predict(tile).astype(int) - segmenter.predict(tile)).mean() < 3
    assert load_segmenter(str(path), device="cpu").identity == loaded.identity != segmenter.identity


@pytest.mark.parametrize("method", ["hovernet", "unet"])
def test_norms_that_a_convolution_takes_over_change_nothing(method: str) -> None:
    network, x = network_of(config_of(method)).eval(), torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.inference_mode():
        before = network(x)
        norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
        fuse_norms(network)
        after = network(x)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()) < norms
    assert torch.allclose(before.classes, after.classes, atol=1e-4)
    assert torch.allclose(before.maps, after.maps, atol=1e-4)


@pytest.mark.parametrize("shape", [{"levels": 3}, {"levels": 3, "fold": 2}, {"levels": 3, "fold": 2, "blur": 5}])
def test_reach_is_how_far_a_pixel_can_matter(shape: dict[str, int]) -> None:
    config = SupervisedUNetConfig(classes=2, maps=1, base=8, smooth=True, **shape)
    torch.manual_seed(0)
    network = lively(SupervisedUNet(config)).eval()
    side = 2 * -(-(config.reach + 8) // config.stride) * config.stride
    x = torch.rand(1, 3, side, side)
    other = x.clone()
    middle = side // 2
    other[..., middle, middle] = -1.0
    with torch.inference_mode():
        differ = (network(x).classes - network(other).classes).abs().amax((0, 1)) > 0
    rows = torch.nonzero(differ.any(1)).ravel()
    assert differ[middle, middle]
    assert max(middle - int(rows[0]), int(rows[-1]) - middle) <= config.reach


def test_checkpoints_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    config = config_of("unet")
    good = network_checkpoint(config, network_of(config).state_dict(), {})

    def error_of(config: dict) -> str:
        save_checkpoint(Checkpoint(kind="segmenter", config=config, provenance={}, tensors=dict(good.tensors)), path)
        with pytest.raises(CheckpointError) as caught:
            load_segmenter(str(path), device="cpu")
        return str(caught.value)

    assert "'sam', this version of wsinuc knows ddpm" in error_of(good.config | {"method": "sam"})
    assert "does not fit this version" in error_of({k: v for k, v in good.config.items() if k != "mpp_range"})
    assert "does not fit this version" in error_of(good.config | {"surprise": 1})
    assert "do not fit their own header" in error_of(good.config | {"network": {"classes": 3, "maps": 1, "base": 8}})
    assert "missing required field `classes`" in error_of(good.config | {"network": {"odd": 3}})


def test_every_network_has_a_segmenter() -> None:
    assert set(NETWORKS) < set(METHODS)
    with pytest.raises(ConfigError, match="separation"):
        config_of("unet", separation="none")
    with pytest.raises(ConfigError, match="must exceed"):
        config_of("unet", tile=96, margin=48)
    with pytest.raises(ConfigError, match="multiples of 4"):
        build_network("unet", SHAPES["unet"])(torch.zeros(1, 3, 30, 32))
