"""Prompts as vectors: every encoder that a generator can be trained with, and which one it was.

`wsinuc.models.conditioning.template_encoder` has the words of the template one by one,
`wsinuc.models.conditioning.trained_encoder` a small tower that was trained on tissue. `ClipEncoder`
is what method C (Min, Oh, Jeong 2024) uses: the text tower of PLIP (Huang et al. 2023), or of any
other CLIP, read from files that the user gives. All run on the CPU, are frozen, and give the same
tokens for a prompt whatever else is in the batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.conditioning.template_encoder import TemplateEncoder
from wsinuc.models.conditioning.text import TextEncoder, TextTokens
from wsinuc.models.conditioning.trained_encoder import TrainedEncoder, read_text_encoder, rebuilt_encoder
from wsinuc.synthesis.prompts import Prompt, Vocabulary

__all__ = ["ClipEncoder", "NoText", "TemplateEncoder", "load_text_encoder", "open_text_encoder", "own_tensors"]

CLIP_LENGTH = 154
"""Tokens of a caption, padding included: two of CLIP's contexts of 77."""

_WEIGHTS = "model.safetensors"
_POSITIONS = "embeddings.position_embedding.weight"
_CACHED = 4096
"""Captions whose states are kept: one of 30 tokens of 512 floats has 60 kB."""


class NoText:
    """Stands in for an encoder where a network reads no text: prompts of no token."""

    width = 0

    def __call__(self, prompts: Sequence[Prompt | str]) -> TextTokens:
        """Tokens (n, 1, 0), all of them masked."""
        return TextTokens(torch.zeros(len(prompts), 1, 0), torch.zeros(len(prompts), 1, dtype=torch.bool))

    def config(self) -> dict[str, Any]:
        """Its kind."""
        return {"kind": "none"}


class ClipEncoder:
    """The frozen text tower of a CLIP model: hidden states of the last layer after the final normalisation.

    Method C pads captions to 154 tokens, twice what CLIP was trained on, under one causal mask.
    Here the table of positions is laid twice, end to end, which is that; a caption of up to 77
    tokens sees nothing of it, because no token looks ahead. Padding is not computed, but zero and
    masked.

    Parameters
    ----------
    folder
        Files as Hugging Face keeps them: ``config.json``, ``model.safetensors``, and
        ``tokenizer.json`` or ``vocab.json`` with ``merges.txt``. Nothing is ever downloaded and no
        pickle is opened.

    Raises
    ------
    ConfigError
        The optional package ``transformers`` is not installed.
    CheckpointError
        A file is missing or damaged, or holds no CLIP text tower.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        weights = _checked_files(folder)
        try:
            from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
        except ImportError as error:
            raise ConfigError(
                f"a CLIP text encoder needs the package transformers ({error}): pip install 'wsinuc[text]'"
            ) from error
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config = CLIPTextConfig.from_dict(settings.get("text_config") or settings)
            self._tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
            tensors = _text_tensors(weights)
            # Twice CLIP's 77 positions, so that a caption may have 154 tokens.
            tensors[_POSITIONS] = tensors[_POSITIONS].repeat(2, 1)[:CLIP_LENGTH]
            config.max_position_embeddings = len(tensors[_POSITIONS])
            model = CLIPTextModel(config)
            # Versions of transformers differ in whether names have this prefix.
            names = {name.removeprefix("text_model."): name for name in model.state_dict()}
            model.load_state_dict({names[name]: tensor.float() for name, tensor in tensors.items() if name in names})
        except Exception as error:  # whatever a foreign file makes of transformers
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{folder} holds no CLIP text tower with its tokenizer ({type(error).__name__}: {reason})"
            ) from error
        self._model = model.eval().requires_grad_(False)
        self._sha256 = file_sha256(weights)
        # A training asks for the same captions again and again.
        self._hidden = lru_cache(_CACHED)(self._encode)

    @property
    def width(self) -> int:
        """Size of a hidden state; 512 in PLIP."""
        return int(self._model.config.hidden_size)

    def __call__(self, prompts: Sequence[Prompt | str]) -> TextTokens:
        """Tokens (n, 154, width) of prompts, any text; raises ConfigError for one of more than 154 tokens."""
        tokens = torch.zeros(len(prompts), CLIP_LENGTH, self.width)
        mask = torch.zeros(len(prompts), CLIP_LENGTH, dtype=torch.bool)
        for i, prompt in enumerate(prompts):
            hidden = self._hidden(prompt.text() if isinstance(prompt, Prompt) else prompt)
            tokens[i, : len(hidden)] = hidden
            mask[i, : len(hidden)] = True
        return TextTokens(tokens, mask)

    def config(self) -> dict[str, Any]:
        """Width and sha256 of the weights, by which `load_text_encoder` knows the tower again."""
        return {"kind": "clip", "width": self.width, "sha256": self._sha256}

    @torch.no_grad()
    def _encode(self, text: str) -> Tensor:
        """(length, width) of one caption, alone, so that others in the batch change nothing."""
        ids = self._tokenizer(text, return_tensors="pt").input_ids
        limit = self._model.config.max_position_embeddings
        if ids.shape[1] > limit:
            raise ConfigError(f"a prompt may have up to {limit} tokens, got {ids.shape[1]}: shorten {text[:60]!r}...")
        states: Tensor = self._model(input_ids=ids).last_hidden_state[0]
        return states


def open_text_encoder(path: Path) -> TextEncoder:
    """The encoder that a user names: a checkpoint of ``wsinuc pretrain --method text-encoder``, or CLIP's folder.

    Raises
    ------
    CheckpointError
        There is neither.
    ConfigError
        It is a folder, and the optional package ``transformers`` is not installed.
    """
    if path.is_file():
        return read_text_encoder(path)
    return ClipEncoder(path)


def own_tensors(encoder: TextEncoder) -> dict[str, Tensor]:
    """Weights of an encoder that a generator's checkpoint carries with it: none of CLIP, which is large."""
    if isinstance(encoder, TrainedEncoder):
        return encoder.tensors()
    return {}


def load_text_encoder(
    config: dict[str, Any], folder: str | Path | None = None, tensors: Mapping[str, Tensor] | None = None
) -> TextEncoder:
    """The encoder that a network was trained with.

    Parameters
    ----------
    config
        What ``config()`` of that encoder gave.
    folder
        Of the CLIP model, where it was one.
    tensors
        The weights that `own_tensors` gave.

    Raises
    ------
    ConfigError
        The folder is missing, of another model than the one trained with, or given where no CLIP model is used.
    CheckpointError
        The folder holds no CLIP text tower, or the weights are not those of the config.
    """
    kind = config.get("kind")
    if kind == "none":
        if folder is not None:
            raise ConfigError(f"this network was trained without text; leave out the text encoder at {folder}")
        return NoText()
    if kind in ("template", "trained") and folder is not None:
        raise ConfigError(f"this network brings its own text encoder; leave out the one at {folder}")
    if kind == "trained":
        return rebuilt_encoder(config, tensors or {})
    if kind == "template":
        known = {name: config.get(name) for name in ("tissues", "stains", "classes")}
        return TemplateEncoder(from_header(Vocabulary, known))
    if kind != "clip":
        raise ConfigError(f"the kind of a text encoder must be template, trained, clip or none, got {kind!r}")
    if not isinstance(config.get("sha256"), str) or not isinstance(config.get("width"), int):
        raise CheckpointError(
            "the model's header does not fit this version of wsinuc: its text encoder has no sha256 and width"
        )
    if folder is None:
        raise ConfigError(
            f"this network was trained with a CLIP text encoder (sha256 {config['sha256'][:12]}...); give its folder"
        )
    encoder = ClipEncoder(folder)
    # Another tower of the same width would load, and mean something else.
    if encoder.config() != config:
        raise ConfigError(
            f"this network was trained with another text encoder: expected weights of width {config['width']} with "
            f"sha256 {config['sha256'][:12]}..., {folder} has {encoder.width} and {encoder.config()['sha256'][:12]}..."
        )
    return encoder


def _checked_files(folder: Path) -> Path:
    """The weights in a folder that has all files of a CLIP text tower; raises CheckpointError."""
    if not folder.is_dir():
        raise CheckpointError(f"no folder at {folder}: a text encoder is a folder with config.json and {_WEIGHTS}")
    weights = folder / _WEIGHTS
    if not weights.is_file():
        # The usual reason why the safe file is missing.
        pickled = next(iter(sorted(folder.glob("*.bin"))), None)
        advice = ""
        if pickled:
            advice = f" but {pickled.name}, a pickle, which can run code: convert it where you trust it"
        raise CheckpointError(f"{folder} has no {_WEIGHTS}{advice}")
    has = {path.name for path in folder.iterdir()}
    if "config.json" not in has or not ("tokenizer.json" in has or {"vocab.json", "merges.txt"} <= has):
        raise CheckpointError(
            f"{folder} needs config.json and tokenizer.json (or vocab.json and merges.txt); it has "
            f"{', '.join(sorted(has))}"
        )
    return weights


def _text_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of the text tower alone, without the prefix that whole CLIP models give them."""
    try:
        with safe_open(path, framework="pt") as archive:
            everything = archive.keys()
            names = [name for name in everything if not name.startswith("vision_model.")]
            return {name.removeprefix("text_model."): archive.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no complete safetensors file: {error}") from error
