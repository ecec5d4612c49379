"""Checkpoints from strangers: whatever stands in a header, it is understood or refused in one line,
without memory for it."""

from __future__ import annotations

import json
import resource
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from helpers.files.checkpoints import ODD, changed, own_header, places, raw_parts, with_header, without, write_raw
from helpers.files.generators import write_cosyn, write_nudiff
from helpers.odd.checkpoints import tiny_segmenter
from wsinuc.errors import CheckpointError, WsinucError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wsinuc.models.checkpoints.cosyn import load_cosyn
from wsinuc.models.checkpoints.denoisers import denoiser_config, load_denoiser
from wsinuc.models.checkpoints.file_header import read_header
from wsinuc.models.checkpoints.generators import load_image_model, load_structure_model
from wsinuc.models.checkpoints.header import from_header
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.segmenters import load_segmenter, member_path, segmenter_from
from wsinuc.segmenters.joint import JointConfig
from wsinuc.segmenters.network import NetworkSegmenter
from wsinuc_cli.main import main

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
SHIPPED = {
    "accurate": "73297371f4b009c42745e880c44eba6fe771dacae6f0e44bd11e0d0f262d59cb",
    "breast": "8da8f4b9f1f81e3b08811b4a119044b4a4e64e6d052904290c72c3ff03620582",
    "diffusion": "c16cdc3cd4786f80bbc6bc6d5a161571d7d1908b7907b586602148fad70b6264",
    "fast": "4005e1fce68c0f8a0d534b2ef5b389598decbe1e187aa87af70b719af6bf769c",
    "student-tnbc": "65411e0d07126d4bd793442826e5482d0b00633a13c6d7e8ceded1882aa1020e",
    "student": "a1e0096a53c299e81c8c66efb63759f7a308696c1929d479a4790c356e27b2ce",
}
"""Identity of each on one CPU thread: a run that is interrupted goes on only with the same."""


def refused(checkpoint: Checkpoint) -> str | None:
    """The one line with which a checkpoint is refused; None where it is a segmenter."""
    said = ""
    try:
        segmenter_from(checkpoint, **CPU)  # type: ignore[arg-type]
    except CheckpointError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 1000
    return said or None


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_models_are_what_they_were(name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert load_segmenter(name, device="cpu").identity == SHIPPED[name]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "share"), [("student", 12), ("diffusion", 48), ("breast", 36), ("fast", 24)])
def test_every_value_of_a_shipped_header_may_be_odd(name, share):
    """Of some models only every so-and-so-many-th odd value, another one at each place: what is
    accepted takes time to load."""
    good = load_checkpoint(member_path(name), "segmenter")
    for number, at in enumerate(places(good.config)):
        refused(replace(good, config=without(good.config, at)))
        for value in ODD[number % share :: share]:
            refused(replace(good, config=changed(good.config, at, value)))


def test_every_value_of_a_joint_header_may_be_odd():
    config = own_header(member_path("accurate"))["config"]
    for at in places(config):
        for value in ODD:
            with suppress(CheckpointError):
                from_header(JointConfig, changed(config, at, value))


def test_what_is_accepted_of_a_header_also_runs():
    """A header that is not refused gives scores of the shape that it promises."""
    good = tiny_segmenter()
    accepted = 0
    for at in places(good.config):
        for value in (*ODD, 16, 32, 64, 112):
            odd = replace(good, config=changed(good.config, at, value))
            if refused(odd) is not None:
                continue
            segmenter = segmenter_from(odd, **CPU)  # type: ignore[arg-type]
            scores = segmenter.predict(np.zeros((1, segmenter.tile, segmenter.tile, 3), np.uint8))
            side = segmenter.tile - 2 * segmenter.margin
            assert scores.shape == (1, segmenter.channels, side, side)
            segmenter.separate(scores[0])
            accepted += 1
    assert accepted > 30


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("tile",), 10**9, "tile: Expected `int` <= 8192, got 1000000000"),
        (("tile",), "96", "tile: Expected `int`, got `str`, got '96'"),
        (("margin",), 48, "tile 96 must exceed twice the margin 48"),
        (("network", "levels"), 40, "levels: Expected `int` <= 8, got 40"),
        (("network", "base"), 10**9, "base: Expected `int` <= 1024, got 1000000000"),
        (("network", "base"), 5, "the weights do not fit their own header: "),
        (("network", "classes"), 3, "the weights do not fit their own header: "),
        (("watershed", "mpp"), 0.0001, "mpp must lie between 0.05 and 2.0"),
        (("watershed", "max_diameter_um"), 1e9, r"max_diameter_um: Expected `float` <= 500.0, got 1000000000.0"),
        (("watershed", "smoothing_um"), 15.0, "smoothing_um must not exceed what a kernel of 255 px holds"),
        (("watershed", "foreground_threshold"), 0, "foreground_threshold: Expected `float` > 0.0, got 0"),
        (("mpp_range",), [2.0, 1.0], "begins with the finest"),
        (("certainty", 0), 1e300, r"certainty\[0\]: Expected `float` <= 1000.0"),
        (("shape_odds",), {"solidity": 1e300}, "shape_odds.solidity: Expected `float` <= 1000.0"),
        (("shape_odds",), {"colour": 1}, "unknown"),
        (("classes", 0, "color", 1), 256, r"classes\[0\].color\[1\]: Expected `int` <= 255, got 256"),
        (("classes", 0, "name"), "a\x1b[31m", "matching regex"),
        (("classes", 0, "name"), "a\u202eb", "matching regex"),
        (("classes",), [{"name": "n", "color": [0, 0, 0]}] * 2, "two classes of nuclei are called 'n'"),
        (("classes",), [{"name": f"{i}", "color": [0, 0, 0]} for i in range(10**5)], "length <= 64"),
        (("surprise",), 1, "unknown"),
        (("watershed", "surprise"), 1, "'watershed.surprise' that is unknown"),
        (("separation",), "hv", "must be .2, 2., as the header's classes need"),
    ],
)
def test_settings_are_refused_by_name_value_and_range(at, value, message):
    good = tiny_segmenter()
    with pytest.raises(CheckpointError, match=message):
        segmenter_from(replace(good, config=changed(good.config, at, value)), **CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("ensemble", "members"), 10**9, "ensemble.members: Expected `int` <= 64, got 1000000000"),
        (("unet", "multipliers"), [1] * 40, "length <= 8"),
        (("features", "timesteps"), [10**6], r"timesteps\[0\]: Expected `int` <= 999"),
        (("features", "blocks"), [200], "decoder blocks run from 0 to 9"),
        (("features", "timesteps"), [0, 50], "the ensemble reads features"),
        (("betas",), "none", "betas must be one of"),
        (("margin",), 0, "margin at least that"),
    ],
)
def test_settings_of_the_diffusion_model_are_refused_by_name(at, value, message):
    good = load_checkpoint(member_path("diffusion"), "segmenter")
    with pytest.raises(CheckpointError, match=message):
        segmenter_from(replace(good, config=changed(good.config, at, value)), **CPU)  # type: ignore[arg-type]


def test_a_small_file_that_claims_a_large_network_takes_no_memory():
    good = load_checkpoint(member_path("diffusion"), "segmenter")
    greatest = {"base": 1024, "multipliers": [32] * 8, "res_blocks": 16, "heads": 1}
    odd = replace(good, config=good.config | {"unet": good.config["unet"] | greatest, "tile": 1024, "margin": 128})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "do not fit their own header" in (refused(odd) or "")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"kind": "segmenter", "config": {}, "provenance": {}, "kind": "cosyn"}', "'kind' stands in it twice"),
        ('{"kind": "segmenter", "config": {"tile": NaN}, "provenance": {}}', "NaN is no number"),
        ('{"kind": "segmenter", "config": {"tile": -Infinity}, "provenance": {}}', "-Infinity is no number"),
        (
            '{"kind": "segmenter", "config": ' + "[" * 100_000 + "]" * 100_000 + ', "provenance": {}}',
            "nested too deeply",
        ),
        ('{"kind": "segmenter", "config": {"tile": ' + "9" * 5000 + '}, "provenance": {}}', "4300 digits"),
        ('{"kind": 7, "config": {}, "provenance": {}}', "kind: Expected `str`"),
        ('{"kind": "segmenter", "config": [], "provenance": {}}', "config: Expected `object`"),
        ('{"kind": "segmenter", "config": {}}', "missing required field `provenance`"),
        ('{"kind": "segmenter", "config": {}, "provenance": {}, "code": "x"}', "a field 'code' that is unknown"),
        ('{"kind": "segmenter", "config": {"method": 3}, "provenance": {}}', "method: Expected `str`"),
        ("[]", "Expected `object`"),
        ("null", "was not written by wsinuc"),
        ("{", "no complete safetensors file"),
    ],
)
def test_headers_that_are_no_headers(tmp_path, header, message):
    path = with_header(member_path("fast"), header, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, "segmenter")
    told = CliRunner().invoke(main, ["segment", "missing.svs", "--model", str(path), "-o", str(tmp_path / "out")])
    assert "unexpected error" not in told.output


def test_files_that_are_no_safetensors(tmp_path):
    save_checkpoint(tiny_segmenter(), tmp_path / "good.safetensors")
    good, weights = raw_parts(tmp_path / "good.safetensors")
    names = [name for name in good if name != "__metadata__"]
    overlapping = json.loads(json.dumps(good))
    overlapping[names[1]]["data_offsets"] = overlapping[names[0]]["data_offsets"]
    outside = json.loads(json.dumps(good))
    outside[names[0]]["data_offsets"] = [0, 10**12]
    typed = json.loads(json.dumps(good))
    typed[names[0]]["dtype"] = "F8_E4M3"
    doubled = json.dumps(good)[:-1] + f', "{names[0]}": {json.dumps(good[names[0]])}}}'
    cases = {
        "overlapping": (json.dumps(overlapping), weights),
        "outside": (json.dumps(outside), weights),
        "float8": (json.dumps(typed), weights),
        "doubled": (doubled, weights),
        "truncated": (json.dumps(good), weights[:-10]),
        "longer": (json.dumps(good), weights + b"\0" * 8),
    }
    for name, (header, data) in cases.items():
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(write_raw(tmp_path / f"{name}.safetensors", header, data), "segmenter")
        assert "\n" not in str(caught.value)
    for name, content in {"empty": b"", "short": b"\1\0\0", "announced": (2**30).to_bytes(8, "little") + b"{}"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="no complete safetensors file"):
            read_header(tmp_path / name)


def test_a_header_of_a_gigabyte_is_not_read(tmp_path):
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write((2**30).to_bytes(8, "little") + b"{")
        file.truncate(2**30 + 100)  # a hole, no bytes
    with pytest.raises(CheckpointError, match="header of 1024 MiB is no model's"):
        load_checkpoint(path, "segmenter")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    good = tiny_segmenter()
    name = next(iter(good.tensors))
    broken = good.tensors[name].clone()
    broken.view(-1)[3] = value
    save_checkpoint(replace(good, tensors=good.tensors | {name: broken}), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=f"the weights '{name}' hold NaN or infinity"):
        load_segmenter(str(tmp_path / "a.safetensors"), device="cpu")


def test_weights_that_belong_to_nothing_are_missing_or_are_whole_numbers():
    good = tiny_segmenter()
    name = next(iter(good.tensors))
    rest = {key: value for key, value in good.tensors.items() if key != name}
    assert f"{name} is missing" in (refused(replace(good, tensors=rest)) or "")
    assert "'more'" in (refused(replace(good, tensors=good.tensors | {"'more'": torch.zeros(3)})) or "")
    whole = good.tensors | {name: good.tensors[name].to(torch.int64)}
    assert f"{name} is of type torch.int64" in (refused(replace(good, tensors=whole)) or "")


def test_joint_models_of_joint_models_are_refused(tmp_path):
    own = own_header(member_path("fast"))
    other = load_checkpoint(member_path("fast"), "segmenter")
    member = own["config"]["members"][0] | {"model": "fast", "sha256": other.sha256}
    own["config"]["members"] = [member]
    path = with_header(member_path("fast"), json.dumps(own), tmp_path / "circle.safetensors")
    with pytest.raises(CheckpointError, match="is itself put together of others"):
        load_segmenter(str(path), device="cpu")
    member = member | {"model": str(path)}  # itself, by a hash that cannot be its own
    own["config"]["members"] = [member]
    path = with_header(member_path("fast"), json.dumps(own), path)
    with pytest.raises(CheckpointError, match="with the sha256"):
        load_segmenter(str(path), device="cpu")


def test_a_model_that_classifies_what_is_classified_is_refused():
    good = load_checkpoint(member_path("breast"), "segmenter")
    nested: dict[str, Any] = good.config
    for _ in range(50):
        nested = good.config | {"base": nested}
    assert "its base must not be of its kind" in (refused(replace(good, config=nested)) or "")


def write_denoiser(path: Path) -> Path:
    torch.manual_seed(0)
    unet = UNet(UNetConfig(base=32, multipliers=(1,), res_blocks=1, attention_factors=(), middle_attention=False))
    config = denoiser_config(unet) | {"betas": "linear", "mpp": 0.5, "learned_variance": False}
    save_checkpoint(Checkpoint(kind="denoiser", config=config, provenance={}, tensors=unet.state_dict()), path)
    return path


def test_every_value_of_the_other_kinds_of_headers_may_be_odd(tmp_path):
    rng = np.random.default_rng(0)
    structure, image = write_nudiff(tmp_path)
    kinds = {
        structure: load_structure_model,
        image: load_image_model,
        write_cosyn(tmp_path / "cosyn.safetensors"): load_cosyn,
        write_denoiser(tmp_path / "denoiser.safetensors"): lambda path: load_denoiser(
            load_checkpoint(path, "denoiser")
        ),
    }
    for path, load in kinds.items():
        load(path)
        header = own_header(path)
        for at in places(header["config"]):
            if at[:1] in (("layouts",), ("text",), ("levels",)) and len(at) > 3:
                continue  # long tables of numbers
            for value in (ODD[i] for i in rng.choice(len(ODD), 1)):
                odd = header | {"config": changed(header["config"], at, value)}
                with suppress(WsinucError):
                    made = load(with_header(path, json.dumps(odd), tmp_path / "odd.safetensors"))
                    getattr(made, "levels", None)


def test_foreign_safetensors_are_said_to_be_foreign(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    assert read_header(tmp_path / "foreign.safetensors") is None
    with pytest.raises(CheckpointError, match="was not written by wsinuc"):
        load_checkpoint(tmp_path / "foreign.safetensors", "segmenter")


def test_a_segmenter_that_was_saved_is_the_same_when_it_is_read(tmp_path):
    save_checkpoint(tiny_segmenter(), tmp_path / "a.safetensors")
    once = load_segmenter(str(tmp_path / "a.safetensors"), device="cpu")
    again = load_segmenter(str(tmp_path / "a.safetensors"), device="cpu")
    assert isinstance(once, NetworkSegmenter)
    assert once.identity == again.identity
