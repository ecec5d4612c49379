"""The held-out loss of generators: of images that are not learned from, the same measure whenever it is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.training import cosyn as joint
from helpers.training import nudiff
from wsinuc.datasets.base import cut
from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.training.state import read_log
from wsinuc.workflows.generators import cosyn as train_cosyn
from wsinuc.workflows.generators import report as generator_report
from wsinuc.workflows.generators.config import GeneratorConfig
from wsinuc.workflows.training import held_out
from wsinuc.workflows.training.held_out import set_apart


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few patches, pages of samples in two steps of the sampler, no fit of a point process."""
    monkeypatch.setattr(held_out, "PATCHES", 4)
    monkeypatch.setattr(generator_report, "SAMPLING_STEPS", 2)
    monkeypatch.setattr(train_cosyn, "_fitted_layouts", lambda images, config: {})


def test_windows_of_one_image_stay_together() -> None:
    images = [replace(nudiff.tissue(0), name=f"{i // 3}") for i in range(30)]
    learned, apart = set_apart(images, 0.2, seed=3)
    assert sorted(learned + apart) == list(range(30))
    assert len(apart) == 6
    assert not {images[i].name for i in learned} & {images[i].name for i in apart}
    assert set_apart(images, 0.2, seed=3) == (learned, apart)
    assert set_apart(images, 0.2, seed=4) != (learned, apart)
    assert set_apart(images, 0.0, seed=3) == (list(range(30)), list(range(30)))
    assert set_apart(images[:3], 0.5, seed=3) == ([0, 1, 2], [0, 1, 2]), "a single image is learned from and measured"
    assert len(set_apart(images, 0.001, seed=3)[1]) == 3, "any share holds out an image"


def test_windows_that_were_cut_from_one_image_have_its_name_behind_their_own() -> None:
    whole = [replace(nudiff.tissue(0), name=name, attributes={"name": name}) for name in "abcd"]
    boxes = [Box(0, 0, 16, 16), Box(0, 8, 16, 24), Box(0, 16, 16, 32)]
    images = [replace(part, name=f"folder/{part.name}") for image in whole for part in (cut(image, b) for b in boxes)]
    _, apart = set_apart(images, 0.25, seed=0)
    assert len(apart) == 3
    assert len({images[i].attributes["name"] for i in apart}) == 1


@pytest.mark.parametrize("attribute", ["patient", "Patient"])
def test_patients_are_held_out_whole_where_there_are_two(attribute: str) -> None:
    images = [
        replace(nudiff.tissue(0), name=f"set/{i}", attributes={"name": str(i), attribute: f"p{i % 3}"})
        for i in range(9)
    ]
    learned, apart = set_apart(images, 0.2, seed=0)
    assert len({i % 3 for i in apart}) == 1
    assert (len(learned), len(apart)) == (6, 3)
    assert len(set_apart(images[::3], 0.2, seed=0)[1]) == 1, "of one patient an image"


def test_the_choice_is_that_of_the_images_not_of_their_order() -> None:
    images = [
        replace(nudiff.tissue(0), name=f"{folder}/{i}", attributes={"name": str(i), "patient": f"p{i % 3}"})
        for folder in "ab"
        for i in range(6)
    ]
    _, apart = set_apart(images, 0.4, seed=1)
    assert {images[i].name for i in apart} == {images[::-1][i].name for i in set_apart(images[::-1], 0.4, seed=1)[1]}
    chosen = {(images[i].name.partition("/")[0], i % 3) for i in apart}
    assert (len(chosen), len(apart)) == (2, 4), "patients of one name in two data sets are two"


def losses(out: Path) -> list[float]:
    return [line["validation"] for line in read_log(out.with_suffix(".jsonl")) if line["validation"] is not None]


@pytest.mark.parametrize(
    "config", [pytest.param(nudiff.STRUCTURES, marks=pytest.mark.slow), nudiff.IMAGES], ids=["structures", "images"]
)
def test_nudiff_measures_at_fixed_noise_and_learns_the_same(config: GeneratorConfig, tmp_path: Path) -> None:
    """Weights that stand still have one loss; measuring changes no weight, and a network that learns a lower loss."""
    plain = nudiff.trained(tmp_path / "plain.safetensors", config)
    watched = replace(config, validate_every=2)
    found = nudiff.trained(tmp_path / "watched.safetensors", watched)
    assert all(torch.equal(value, found[name]) for name, value in plain.items())
    assert losses(tmp_path / "plain.safetensors") == []
    falling = losses(tmp_path / "watched.safetensors")
    assert len(falling) == 4
    assert falling[-1] < falling[0]
    still = replace(watched, held_out=0.5, fit=replace(config.fit, lr=1e-12))
    nudiff.trained(tmp_path / "still.safetensors", still)
    one, *others = losses(tmp_path / "still.safetensors")
    assert others == pytest.approx([one] * 3, rel=1e-5)
    nudiff.interrupted(tmp_path / "parts.safetensors", watched, after=2)
    assert losses(tmp_path / "parts.safetensors") == pytest.approx(falling)


def test_images_held_out_are_not_learned_from(tmp_path: Path) -> None:
    """What is trained with one image apart is what is trained without that image."""
    config = replace(nudiff.STRUCTURES, held_out=0.5)
    (kept,), _ = set_apart(nudiff.DATA, 0.5, config.seed)
    apart = nudiff.trained(tmp_path / "a.safetensors", config)
    nudiff.train_structures([nudiff.DATA[kept]], tmp_path / "b.safetensors", nudiff.STRUCTURES)
    alone = load_checkpoint(tmp_path / "b.safetensors", "nudiff-structure").tensors
    assert all(torch.equal(value, alone[name]) for name, value in apart.items())


def test_cosyn_measures_too_and_knows_the_words_of_what_is_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(joint.CONFIG, validate_every=2, held_out=0.5, fit=replace(joint.CONFIG.fit, lr=1e-12))
    drawn: list[list[str]] = []
    fitted = lambda images, config: drawn.append([image.name for image in images]) or {}  # noqa: E731
    monkeypatch.setattr(train_cosyn, "_fitted_layouts", fitted)
    images = [joint.image(0, organ="colon"), joint.image(1, organ="breast")]
    out = tmp_path / "c.safetensors"
    train_cosyn.train_cosyn(images, joint.CLASSES, out, config, weights=[1.0, 2.0])
    one, *others = losses(out)
    assert others == pytest.approx([one] * 2, rel=1e-5)
    assert len(drawn[0]) == 1


def test_states_of_trainings_that_held_nothing_out_still_continue() -> None:
    for config in (nudiff.STRUCTURES, joint.CONFIG):
        assert "held_out" not in config.identity()
        assert replace(config, validate_every=8).identity() == config.identity()
        assert replace(config, held_out=0.1).identity() != config.identity()
        with pytest.raises(ConfigError, match="between 0 and 1"):
            replace(config, held_out=1.0)
