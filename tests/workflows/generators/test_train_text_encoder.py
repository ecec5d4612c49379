"""Training of a text encoder: what it tells apart, resume, and a generator that carries it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.training.cosyn import CLASSES, CONFIG, image
from wsinuc.errors import CheckpointError, ConfigError, DataError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.cosyn import load_cosyn
from wsinuc.models.conditioning.text_encoders import open_text_encoder
from wsinuc.models.conditioning.trained_encoder import TextTower, TowerConfig, TrainedEncoder
from wsinuc.models.training.loop import FitConfig
from wsinuc.synthesis.prompts import Prompt, Vocabulary
from wsinuc.workflows.generators import cosyn
from wsinuc.workflows.generators.cosyn_words import encoder_of
from wsinuc.workflows.generators.text_config import TextTrainConfig
from wsinuc.workflows.generators.text_encoder import contrastive_loss, train_text_encoder
from wsinuc.workflows.training.run import Session

TINY = TextTrainConfig(
    patch=16,
    batch=8,
    network=TowerConfig(base=8, depth=1, heads=2),
    image_base=8,
    fit=FitConfig(steps=3, lr=3e-3, bf16=False, log_every=1, save_every=1),
)
DARK = replace(image(0, organ="colon"), image=np.full((40, 40, 3), 40, np.uint8))
LIGHT = replace(image(1, organ="breast"), image=np.full((40, 40, 3), 220, np.uint8))


def train(out: Path, config: TextTrainConfig = TINY, **more) -> None:
    train_text_encoder([DARK, LIGHT], CLASSES, out, config, **more)


def test_every_crop_with_the_same_text_is_right():
    """In a batch of two equal texts and another one, the loss is least where the equal ones share the probability."""
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    best = contrastive_loss(100.0 * same, same)
    assert float(best) == pytest.approx(2 / 3 * np.log(2))
    for wrong in (torch.eye(3), torch.zeros(3, 3)):
        assert contrastive_loss(100.0 * wrong, same) > best


def test_texts_of_unlike_tissues_are_told_apart_by_pixels(tmp_path: Path):
    fit = replace(TINY.fit, steps=15, lr=1e-2, ema=0.5, save_every=100)
    train(tmp_path / "text.safetensors", replace(TINY, fit=fit, validate_every=15 * TINY.batch))
    lines = [json.loads(line) for line in (tmp_path / "text.jsonl").read_text().splitlines()]
    (held,) = [line["validation"] for line in lines if line["validation"] is not None]
    assert held < np.log(TINY.batch) - 0.4, "ln n is the loss of telling nothing apart"


def test_images_that_are_annotated_in_part_have_no_true_prompt(tmp_path: Path):
    part = replace(LIGHT, ignore=np.ones((40, 40), bool))
    with pytest.raises(DataError, match="nobody annotated, and a prompt names every class that a crop shows"):
        train_text_encoder([DARK, part], CLASSES, tmp_path / "text.safetensors", TINY)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path: Path):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(whole)
    train(parts, session=Session(should_stop=lambda: True))
    train(parts)
    one, other = (load_checkpoint(path, "text-encoder").tensors for path in (whole, parts))
    assert one
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_generator_carries_the_encoder_that_it_listens_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cosyn, "_fitted_layouts", lambda images, config: {})
    path, out = tmp_path / "text.safetensors", tmp_path / "c.safetensors"
    train(path)
    encoder = open_text_encoder(path)
    assert isinstance(encoder, TrainedEncoder)
    config = replace(CONFIG, fit=replace(CONFIG.fit, steps=1))
    cosyn.train_cosyn([DARK, LIGHT], CLASSES, out, config, text_encoder=encoder)
    path.unlink()
    again = load_cosyn(out).text_encoder
    prompts = [Prompt(tissue="colon", classes=("Stroma",)), Prompt(tissue="breast")]
    given, kept = encoder(prompts), again(prompts)
    torch.testing.assert_close(given.tokens, kept.tokens, rtol=0, atol=0)
    assert given.tokens.shape == (2, 4, 8)
    assert not torch.allclose(given.tokens[0, 0], given.tokens[1, 0])
    assert not given.tokens[~given.mask].any()
    torch.testing.assert_close(encoder(prompts[1:]).tokens, given.tokens[1:], rtol=0, atol=0)
    with pytest.raises(ConfigError, match="brings its own text encoder"):
        load_cosyn(out, text_encoder=tmp_path)
    with pytest.raises(ConfigError, match=r"unknown tissue 'skin'.*breast, colon"):
        encoder_of([image(organ="skin")], CLASSES, config, encoder)


def test_what_cannot_be_learned_is_refused(tmp_path: Path):
    whole = np.ones((40, 40), np.int32)
    one = replace(DARK, labels=whole, classes=np.array([0, 1], np.int32))
    with pytest.raises(DataError, match="one prompt, 'high-quality histopathology colon"):
        train_text_encoder([one], CLASSES, tmp_path / "t.safetensors", TINY)
    for change, message in (
        ({"batch": 1}, "at least 2"),
        ({"patch": 20}, "multiple of 16"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(TINY, **change)
    with pytest.raises(ConfigError, match="one process and one pass, got 1 and 2"):
        train(tmp_path / "t.safetensors", replace(TINY, fit=replace(TINY.fit, accumulate=2)))
    with pytest.raises(ConfigError, match="multiple of its 4 heads"):
        TowerConfig(base=10)


def test_a_damaged_encoder_is_refused_before_memory_is_taken(tmp_path: Path):
    words = Vocabulary(tissues=("colon", "breast"), classes=("Stroma",))
    tower = TextTower(4, TINY.network)
    encoder = TrainedEncoder(words, tower, TINY.network)
    config = {"tower": asdict(TINY.network), "words": asdict(words)}
    path = tmp_path / "t.safetensors"

    def written(**change) -> Path:
        save_checkpoint(
            Checkpoint(kind="text-encoder", config=config | change, provenance={}, tensors=encoder.tensors()), path
        )
        return path

    assert open_text_encoder(written()).config() == encoder.config()
    for change, message in (
        ({"tower": {"base": 4096, "depth": 1, "heads": 2}}, "do not fit"),
        ({"tower": {"base": 10**9}}, "base"),
        ({"words": {"tissues": ["a", "a"]}}, "named once"),
    ):
        with pytest.raises(CheckpointError, match=message):
            open_text_encoder(written(**change))
    with pytest.raises(CheckpointError, match="no folder at"):
        open_text_encoder(tmp_path / "absent")
