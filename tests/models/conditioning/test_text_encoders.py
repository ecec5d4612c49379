"""Text encoders: what the tokens carry, that they depend on their prompt alone, and which towers are refused."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.conditioning.text_encoders import CLIP_LENGTH, ClipEncoder, TemplateEncoder, load_text_encoder
from wsinuc.synthesis.prompts import Prompt, Vocabulary

WORDS = Vocabulary(tissues=("colon", "breast"), stains=("", "IHC stained"), classes=("plasma", "lymphocyte", "stroma"))
PROMPTS = st.builds(
    Prompt,
    tissue=st.sampled_from(WORDS.tissues),
    stain=st.sampled_from(WORDS.stains),
    classes=st.lists(st.sampled_from(WORDS.classes), unique=True).map(tuple),
)


def test_one_token_per_word():
    encoder = TemplateEncoder(WORDS)
    encoded = encoder([Prompt(tissue="breast", stain="IHC stained", classes=("stroma", "plasma"))])
    assert encoder.width == 7
    assert encoded.mask.tolist() == [[True, True, True, False, True]]
    assert encoded.tokens[0].nonzero().tolist() == [[0, 1], [1, 3], [2, 4], [4, 6]]


@given(st.lists(PROMPTS, min_size=1, max_size=4))
def test_tokens_tell_prompts_apart_exactly_where_they_differ(prompts):
    encoder = TemplateEncoder(WORDS)
    encoded = encoder(prompts)
    torch.testing.assert_close(encoder([prompt.text() for prompt in prompts]).tokens, encoded.tokens, rtol=0, atol=0)
    for i, first in enumerate(prompts):
        for j, second in enumerate(prompts):
            same = bool((encoded.tokens[i] == encoded.tokens[j]).all())
            assert same == (WORDS.checked(first) == WORDS.checked(second))


def test_unknown_words_are_refused_with_the_known_ones():
    encoder = TemplateEncoder(WORDS)
    for prompt in (Prompt(tissue="liver"), "a purple picture", Prompt(tissue="colon", classes=("dragon",))):
        with pytest.raises(ConfigError, match=r"colon, breast.*plasma, lymphocyte, stroma"):
            encoder([prompt])


def test_the_template_encoder_comes_back_from_its_config():
    encoder = TemplateEncoder(WORDS)
    config = json.loads(json.dumps(encoder.config()))
    again = load_text_encoder(config)
    assert again.config() == config
    prompt = [Prompt(tissue="colon", classes=("stroma",))]
    torch.testing.assert_close(again(prompt).tokens, encoder(prompt).tokens)
    with pytest.raises(ConfigError, match="its own text encoder; leave out"):
        load_text_encoder(config, "somewhere")
    with pytest.raises(ConfigError, match="template, trained, clip or none, got 'bert'"):
        load_text_encoder({"kind": "bert"})
    with pytest.raises(ConfigError, match="give its folder"):
        load_text_encoder({"kind": "clip", "width": 8, "sha256": "0" * 64})


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A tiny CLIP text tower with random weights and a tokenizer of single letters."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz,.-"
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
    )  # fmt: skip
    transformers.CLIPTextModel(config).save_pretrained(folder)
    return folder


def test_clip_gives_the_last_hidden_states_of_each_caption(tower):
    transformers = pytest.importorskip("transformers")
    encoder = ClipEncoder(tower)
    captions = ["colon tissue", Prompt(tissue="breast")]
    encoded = encoder(captions)
    assert (encoder.width, encoded.tokens.shape, encoded.mask.shape) == (16, (2, CLIP_LENGTH, 16), (2, CLIP_LENGTH))
    model = transformers.CLIPTextModel.from_pretrained(tower).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tower)
    for i, text in enumerate(("colon tissue", Prompt(tissue="breast").text())):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = model(input_ids=ids).last_hidden_state[0]
        assert encoded.mask[i].tolist() == [k < len(expected) for k in range(CLIP_LENGTH)]
        torch.testing.assert_close(encoded.tokens[i, : len(expected)], expected)
        assert not encoded.tokens[i, len(expected) :].any()
        torch.testing.assert_close(encoder([captions[i]]).tokens[0], encoded.tokens[i], rtol=0, atol=0)
    assert not encoded.tokens.requires_grad


def test_clip_takes_captions_of_two_contexts_and_no_more(tower):
    encoder = ClipEncoder(tower)
    long = encoder(["n" * 120, "n" * 60])
    assert long.mask.sum(1).tolist() == [122, 62]
    torch.testing.assert_close(long.tokens[0, :60], long.tokens[1, :60])
    with pytest.raises(ConfigError, match="up to 154 tokens, got 162"):
        encoder(["n" * 160])


def test_whole_clip_models_and_towers_give_the_same(tower, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tower, tmp_path, dirs_exist_ok=True)
    tensors = {
        f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(tower / "model.safetensors").items()
    }
    extra = {
        "vision_model.x": torch.zeros(2),
        "logit_scale": torch.zeros(()),
        "text_model.embeddings.position_ids": torch.arange(77),
    }
    save_file(tensors | extra, tmp_path / "model.safetensors")
    settings = {"text_config": json.loads((tower / "config.json").read_text()), "model_type": "clip"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    whole, alone = ClipEncoder(tmp_path), ClipEncoder(tower)
    torch.testing.assert_close(whole(["colon"]).tokens, alone(["colon"]).tokens)
    assert load_text_encoder(alone.config(), tower).config() == alone.config()
    with pytest.raises(ConfigError, match="trained with another text encoder"):
        load_text_encoder(alone.config(), tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "config", "weights", "tokenizer"])
def test_damaged_towers_are_one_clear_line(tower, tmp_path, damage):
    from safetensors.torch import save_file

    shutil.copytree(tower, tmp_path, dirs_exist_ok=True)
    if damage == "truncated":
        (tmp_path / "model.safetensors").write_bytes((tower / "model.safetensors").read_bytes()[:-50])
    elif damage == "weights":
        save_file({"something.else": torch.zeros(2)}, tmp_path / "model.safetensors")
    else:
        (tmp_path / {"config": "config.json", "tokenizer": "vocab.json"}[damage]).write_text("{")
    with pytest.raises(CheckpointError, match="holds no CLIP text tower") as caught:
        ClipEncoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no folder at"):
        ClipEncoder(tmp_path / "none")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"no model.safetensors but pytorch_model.bin, a pickle"):
        ClipEncoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"needs config.json and tokenizer.json .* it has model.safe"):
        ClipEncoder(tmp_path)


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'wsinuc\[text\]'"):
        ClipEncoder(tmp_path)
