"""Several models as one: means, sizes, doubt, and what does not fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wsinuc.datasets.base import LabelledImage
from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.grid import Box
from wsinuc.models.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from wsinuc.models.networks.by_name import build_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.pipeline.block import score_box
from wsinuc.pipeline.image import find_nuclei
from wsinuc.pipeline.seen_image import SeenImage
from wsinuc.recent import Recent
from wsinuc.segmenters import load_segmenter, member_path
from wsinuc.segmenters.base import Fitted, Segmenter
from wsinuc.segmenters.cutoffs import Cutoffs, with_cutoffs
from wsinuc.segmenters.joint import JointConfig, JointSegmenter, Member, joint_checkpoint, member_checkpoints
from wsinuc.segmenters.network import NetworkConfig, NetworkSegmenter, network_checkpoint
from wsinuc.segmenters.normalisation import ColourNormalisation
from wsinuc.separation.channels import DISAGREEMENT, FOREGROUND
from wsinuc.slides.array import ArraySlide
from wsinuc.tissue import whole as whole_mask
from wsinuc.workflows.train.held_out_window import hold_out

NUCLEUS = (NucleusClass("Nucleus", (0, 200, 80)),)
SHAPE = {"classes": 2, "maps": 1, "base": 4, "levels": 2, "smooth": True}
COLOURS = ColourNormalisation(mean=(0.24, 0.34, 0.23), spread=(0.13, 0.16, 0.10))


def write_member(path: Path, seed: int, mpp: float = 0.25) -> Path:
    """A small network with lively weights, as a file."""
    torch.manual_seed(seed)
    network = build_network("unet", SHAPE)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.constant_(module.running_var, 0.3)
    described = NetworkConfig.describe("unet", SHAPE, mpp=mpp, separation="distance", classes=NUCLEUS)
    save_checkpoint(network_checkpoint(described, network.state_dict(), {}), path)
    return path


def joined(
    paths: list[Path],
    *,
    sizes: tuple[str, ...] = ("1",),
    core: int = 64,
    enlarged: tuple[str, ...] = (),
    **changes: object,
) -> JointConfig:
    """Settings of a joint model of these files."""
    first = load_segmenter(str(paths[0]), device="cpu")
    assert isinstance(first, NetworkSegmenter)
    hashes = [load_checkpoint(p, "segmenter").sha256 for p in paths]
    members = tuple(
        Member(model=str(p), sha256=found, sizes=sizes, enlarged=enlarged)
        for p, found in zip(paths, hashes, strict=True)
    )
    config = JointConfig(
        members=members,
        watershed=first.config.watershed,
        separation="distance",
        classes=NUCLEUS,
        tile=core + 2 * 64,
        margin=64,
        mpp_range=(0.1, 1.1),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def opened(config: JointConfig, path: Path) -> JointSegmenter:
    """The joint model, written and read back."""
    save_checkpoint(joint_checkpoint(config, {}), path)
    segmenter = load_segmenter(str(path), device="cpu")
    assert isinstance(segmenter, JointSegmenter)
    return segmenter


@pytest.fixture(name="two")
def _two(tmp_path: Path) -> list[Path]:
    return [write_member(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def of_member(path: Path, pixels: np.ndarray, config: JointConfig) -> np.ndarray:
    """What one member says of tiles of the joint model."""
    member = load_segmenter(str(path), device="cpu")
    assert isinstance(member, NetworkSegmenter)
    member = member.with_core(config.tile - 2 * config.margin)
    cut = config.margin - member.margin
    return member.predict(np.ascontiguousarray(pixels[:, cut : config.tile - cut, cut : config.tile - cut]))


def test_one_member_alone_says_what_it_says_alone(two: list[Path], tmp_path: Path) -> None:
    config = joined(two[:1])
    segmenter = opened(config, tmp_path / "joint.safetensors")
    assert isinstance(segmenter, Segmenter)
    pixels = tissue(192, 192)[None]
    scores = segmenter.predict(pixels)
    assert scores.shape == (1, segmenter.channels, 64, 64)
    assert np.array_equal(scores, of_member(two[0], pixels, config))


def test_two_members_may_share_the_views_between_them(two: list[Path], tmp_path: Path) -> None:
    """A model that is both members, seen in the first and in the second view, is the model seen in both."""
    config = joined(two[:1], margin=80, tile=64 + 160)
    member = config.members[0]
    both = replace(config, members=(replace(member, sizes=("1", "1")),))
    shared = replace(config, members=(member, replace(member, first_view=1)))
    second = replace(config, members=(replace(member, first_view=1),))
    pixels = tissue(224, 224)[None]
    first_file, second_file, third_file = (tmp_path / f"{name}.safetensors" for name in "abc")
    scores = opened(both, first_file).predict(pixels)
    assert np.array_equal(opened(shared, second_file).predict(pixels), scores)
    assert not np.array_equal(opened(second, third_file).predict(pixels), scores)


def test_two_members_say_their_mean_by_weight_and_doubt_where_they_differ(two: list[Path], tmp_path: Path) -> None:
    config = joined(two)
    config = replace(config, members=(replace(config.members[0], weight=3.0), config.members[1]))
    pixels = tissue(192, 192)[None]
    scores = opened(config, tmp_path / "joint.safetensors").predict(pixels).astype(float)
    one, other = (of_member(path, pixels, config).astype(float) for path in two)
    mean = (3 * one + other) / 4
    for channel in (FOREGROUND, 2, 3):
        assert np.abs(scores[:, channel] - mean[:, channel]).max() <= 0.5 + 1e-4
    doubt = scores[:, DISAGREEMENT]
    assert doubt.max() > 0

    def entropy(p: np.ndarray) -> np.ndarray:
        p = p.clip(1e-6, 1 - 1e-6)
        return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))

    p, q = one[:, FOREGROUND] / 255, other[:, FOREGROUND] / 255
    expected = entropy((3 * p + q) / 4) - (3 * entropy(p) + entropy(q)) / 4
    assert np.abs(doubt / 255 - expected).max() < 0.01


def test_scores_are_put_together_in_strips(two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = opened(joined(two), tmp_path / "joint.safetensors")
    pixels = tissue(segmenter.tile, segmenter.tile, seed=9)[None]
    scores = segmenter.predict(pixels)
    together = segmenter._together
    rows: list[int] = []

    def recorded(seen: list[tuple[float, np.ndarray]]) -> np.ndarray:
        rows.append(seen[0][1].shape[2])
        return together(seen)

    monkeypatch.setattr(segmenter, "_together", recorded)
    monkeypatch.setattr("wsinuc.segmenters.joint.STRIP", 25)
    assert np.array_equal(segmenter.predict(pixels), scores)
    assert rows == [25, 25, 14]


@pytest.mark.parametrize("sizes", [("1",), ("3/4",), ("5/4",), ("3/4", "1", "5/4"), ("1",) * 4])
def test_small_tiles_score_a_place_as_large_ones_do(sizes: tuple[str, ...], two: list[Path], tmp_path: Path) -> None:
    config = joined(two, sizes=sizes, core=128)
    large = opened(config, tmp_path / "joint.safetensors")
    small = large.with_core(64)
    pixels = tissue(config.tile, config.tile, seed=3)
    whole = large.predict(pixels[None])[0]
    for y in (0, 64):
        for x in (0, 64):
            part = pixels[y : y + small.tile, x : x + small.tile][None]
            found = small.predict(np.ascontiguousarray(part))[0].astype(int)
            # Sums in another order may round a score to the level beside it.
            assert np.abs(found - whole[:, y : y + 64, x : x + 64]).max() <= 1


@pytest.mark.parametrize("sizes", [("3/4", "1", "5/4"), ("1/2", "7/8")])
def test_a_window_of_any_side_is_scored_by_tiles_that_are_no_larger_than_it_needs(
    sizes: tuple[str, ...], two: list[Path], tmp_path: Path
) -> None:
    """As cross-validation scores the windows that were held out; larger tiles say the same."""
    joint = opened(joined(two[:1], sizes=sizes, core=192, margin=96, tile=384), tmp_path / "joint.safetensors")
    image = tissue(45, 83)
    nothing = np.zeros((45, 83), np.int32)
    sample = LabelledImage(name="window", image=image, labels=nothing, attributes={}, mpp=joint.mpp)
    window = hold_out(sample, joint, 0)
    assert window.segmenter.tile < joint.tile
    with ArraySlide(image, mpp=joint.mpp) as slide:
        view = slide.at(joint.mpp)
        whole = score_box(view, Box.of_shape((45, 83)), joint, batch_size=1, tissue=whole_mask(view))
    assert np.abs(window.scores.astype(int) - whole).max() <= 1


def test_a_size_that_comes_twice_is_seen_turned_and_moved(two: list[Path], tmp_path: Path) -> None:
    config = joined(two[:1], sizes=("1", "1"), core=64)
    pixels = tissue(192, 192, seed=5)[None]
    found = opened(config, tmp_path / "joint.safetensors").predict(pixels).astype(float)
    member = load_segmenter(str(two[0]), device="cpu")
    assert isinstance(member, NetworkSegmenter)
    as_it_is = of_member(two[0], pixels, config).astype(float)
    # What lies above and left in the turned tile comes first, so that pooling begins elsewhere.
    moved, start = member.grain // 2 | 1, config.margin - member.margin
    assert moved % 2 == 1
    core = -(-(64 + moved) // member.grain) * member.grain
    part = slice(start - moved, start - moved + core + 2 * member.margin)
    upside_down = np.ascontiguousarray(np.rot90(pixels, 2, (1, 2))[:, part, part])
    seen = member.with_core(core).predict(upside_down)
    second = np.rot90(seen[:, :, moved : moved + 64, moved : moved + 64], 2, (2, 3)).astype(float)
    assert np.abs(as_it_is - second).max() > 10
    for channel in (FOREGROUND, 2, 3):
        assert np.abs(found[:, channel] - (as_it_is + second)[:, channel] / 2).max() <= 0.5 + 1e-4


def test_a_member_sees_through_its_filter(two: list[Path], tmp_path: Path) -> None:
    config = joined(two[:1])
    config = replace(config, members=(replace(config.members[0], blur=5),))
    pixels = tissue(192, 192, seed=6)[None]
    found = opened(config, tmp_path / "joint.safetensors").predict(pixels)
    stored = load_checkpoint(two[0], "segmenter")
    shape = stored.config["network"] | {"blur": 5}
    blurred = tmp_path / "blurred.safetensors"
    save_checkpoint(replace(stored, config=stored.config | {"network": shape}), blurred)
    assert np.array_equal(found, of_member(blurred, pixels, config))
    assert not np.array_equal(found, of_member(two[0], pixels, config))


def test_only_a_plain_unet_has_a_filter(two: list[Path], tmp_path: Path) -> None:
    path = member_path("diffusion")
    member = Member(model="diffusion", sha256=load_checkpoint(path, "segmenter").sha256, blur=3)
    with pytest.raises(CheckpointError, match="only a plain U-Net has a filter, and 'diffusion' is none"):
        opened(replace(joined(two), members=(member,)), tmp_path / "joint.safetensors")


@pytest.mark.parametrize("method", ["joint", "typed", "measured"])
def test_a_member_has_weights_of_its_own(method: str, two: list[Path], tmp_path: Path) -> None:
    config = replace(joined(two), inside=({"method": method},) * 2)
    with pytest.raises(CheckpointError, match="itself put together of others"):
        member_checkpoints(config, {"0.a": torch.zeros(1), "1.a": torch.zeros(1)})


def test_another_size_shows_the_tissue_larger(two: list[Path], tmp_path: Path) -> None:
    config = joined(two[:1], sizes=("2",), tile=256, margin=64, core=128)
    pixels = np.kron(tissue(64, 64, seed=4), np.ones((4, 4, 1), np.uint8))[None]
    found = opened(config, tmp_path / "joint.safetensors").predict(pixels)[0, FOREGROUND]
    # The same enlarged by hand, scored by the member in small pixels, and brought back by means.
    member = load_segmenter(str(two[0]), device="cpu")
    assert isinstance(member, NetworkSegmenter)
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), scale_factor=2, mode="bilinear"
    )
    seen = enlarged.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    seen = seen[:, 128 - member.margin : 384 + member.margin, 128 - member.margin : 384 + member.margin]
    fine = member.with_core(256).predict(np.ascontiguousarray(seen))[0, FOREGROUND].astype(float)
    means = fine.reshape(128, 2, 128, 2).mean((1, 3))
    assert np.abs(found - means)[4:-4, 4:-4].mean() < 12
    assert np.corrcoef(found.ravel(), means.ravel())[0, 1] > 0.9


def test_what_it_was_fitted_to_can_be_kept(two: list[Path], tmp_path: Path) -> None:
    segmenter = opened(joined(two, colours=COLOURS), tmp_path / "joint.safetensors")
    assert isinstance(segmenter, Fitted)
    assert segmenter.statistics() == {}
    samples = (tissue(512, 256).astype(int) // 2 + 60).astype(np.uint8).reshape(2, 256, 256, 3)
    fitted = segmenter.calibrate(samples)
    pixels = tissue(192, 192, seed=5)[None]
    expected = fitted.predict(pixels)
    assert not np.array_equal(expected, segmenter.predict(pixels))
    again = segmenter.with_statistics(fitted.statistics())
    assert np.array_equal(again.predict(pixels), expected)


def discs(diameter: int, side: int = 256) -> np.ndarray:
    """A field of dark discs on a bright ground."""
    y, x = np.mgrid[:side, :side] % 40 - 20
    dark = y**2 + x**2 <= (diameter / 2) ** 2
    return np.where(dark[..., None], [90, 60, 120], [230, 200, 225]).astype(np.uint8)


class Darkness:
    """A stand-in for a member: what is dark is nucleus, and the darker the farther in."""

    margin = 0

    def calibrate(self, samples: np.ndarray) -> Darkness:
        return self

    def with_core(self, side: int) -> Darkness:
        return self

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        dark = (pixels[..., 1] < 130).astype(np.uint8) * 255
        return np.stack([dark, dark * 0, dark, dark], axis=1)


@pytest.mark.parametrize(("diameter", "small"), [(12, True), (16, True), (22, False), (28, False)])
def test_slides_of_small_nuclei_are_enlarged(diameter: int, small: bool, two: list[Path], tmp_path: Path) -> None:
    config = joined(two, enlarged=("3/2",), small_um2=20.0, tile=320, margin=128)
    segmenter = opened(config, tmp_path / "joint.safetensors")
    segmenter.models = (Darkness(), Darkness())  # type: ignore[assignment]
    field = discs(diameter)
    fitted = segmenter.calibrate(np.stack([field, field, field]))
    assert fitted.enlarges == small, "20 um2 are a disc of 20 px"
    assert fitted.sizes(config.members[0]) == (("3/2",) if small else ("1",))
    assert not segmenter.calibrate(discs(diameter, side=64)[None]).enlarges, "too few to tell"
    assert not segmenter.enlarges


@pytest.mark.parametrize(("diameter", "min_area_um2"), [(12, 0.0), (12, 1000.0), (28, 0.0), (28, 1000.0)])
def test_other_cutoffs_do_not_change_what_the_members_see(
    diameter: int, min_area_um2: float, two: list[Path], tmp_path: Path
) -> None:
    config = joined(two, enlarged=("3/2",), small_um2=20.0, tile=320, margin=128)
    segmenter = opened(config, tmp_path / "joint.safetensors")
    segmenter.models = (Darkness(), Darkness())  # type: ignore[assignment]
    samples = np.stack([discs(diameter)] * 3)
    # With 1,000 um2 not one nucleus would be found in the samples.
    other = segmenter.with_cutoffs(Cutoffs(threshold=0.9, min_area_um2=min_area_um2))
    assert other.calibrate(samples).enlarges == segmenter.calibrate(samples).enlarges == (diameter == 12)
    assert other.calibrate(samples).cutoffs == other.cutoffs


def test_an_image_that_was_seen_gives_the_same_nuclei(two: list[Path], tmp_path: Path) -> None:
    segmenter = opened(joined(two, colours=COLOURS), tmp_path / "joint.safetensors")
    seen = SeenImage(Recent(2**24))
    counts = []
    with ArraySlide(tissue(150, 170), mpp=0.25) as slide:
        view = slide.at(0.25)
        for threshold in (0.4, 0.5, 0.6):
            model = with_cutoffs(segmenter, threshold=threshold, min_area_um2=0.0)
            again = find_nuclei(view, model, seen=seen).nuclei
            alone = find_nuclei(view, model).nuclei
            assert np.array_equal(again.outlines, alone.outlines)
            assert np.array_equal(again.probabilities, alone.probabilities)
            counts.append(again.areas_px.sum())
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_that_a_slide_is_enlarged_is_kept(two: list[Path], tmp_path: Path) -> None:
    config = joined(two, enlarged=("3/2",), small_um2=20.0, tile=320, margin=128)
    segmenter = opened(config, tmp_path / "joint.safetensors")
    enlarging = segmenter.with_statistics({"enlarges": np.ones(1, np.float32)})
    assert enlarging.enlarges
    assert "enlarges" in enlarging.statistics()
    pixels = tissue(320, 320)[None]
    assert not np.array_equal(enlarging.predict(pixels), segmenter.predict(pixels))
    always = opened(joined(two, sizes=("3/2",), tile=320, margin=128), tmp_path / "always.safetensors")
    assert np.array_equal(enlarging.predict(pixels), always.predict(pixels))
    with pytest.raises(ConfigError, match="needs sizes for them"):
        joined(two, small_um2=20.0)


def test_a_member_that_is_another_model_now_is_refused(two: list[Path], tmp_path: Path) -> None:
    config = joined(two)
    save_checkpoint(joint_checkpoint(config, {}), tmp_path / "joint.safetensors")
    write_member(two[1], seed=7)
    with pytest.raises(CheckpointError, match=r"sha256 .* join the models anew"):
        load_segmenter(str(tmp_path / "joint.safetensors"), device="cpu")
    two[1].unlink()
    with pytest.raises(CheckpointError, match=r"2\.safetensors"):
        load_segmenter(str(tmp_path / "joint.safetensors"), device="cpu")


def test_members_of_another_resolution_are_refused(two: list[Path], tmp_path: Path) -> None:
    other = write_member(tmp_path / "coarse.safetensors", 3, mpp=0.5)
    save_checkpoint(joint_checkpoint(joined([two[0], other]), {}), tmp_path / "joint.safetensors")
    with pytest.raises(CheckpointError, match=r"um per pixel: expected 0\.25, got 0\.5"):
        load_segmenter(str(tmp_path / "joint.safetensors"), device="cpu")


def test_sizes_that_do_not_fit_the_tiles_are_refused(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a size of 5/7 does not fit"):
        opened(joined(two, sizes=("5/7",)), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="px around what it scores"):
        opened(joined(two, sizes=("1/4",)), tmp_path / "b.safetensors")


def test_members_are_needed(two: list[Path]) -> None:
    with pytest.raises(ConfigError, match="needs members"):
        joined(two, members=())
