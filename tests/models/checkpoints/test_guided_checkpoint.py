"""Published guided-diffusion weights: the same function under our names.

The reference below runs straight from a state dict in the published layout, block by block in the published order, and
shares no code with the U-Net.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.files.guided import Published
from wsinuc.errors import CheckpointError
from wsinuc.models.checkpoints.guided import from_guided, read_weights
from wsinuc.models.networks.unet import UNet, UNetConfig

CONFIG = UNetConfig(
    base=32, multipliers=(1, 2, 2), res_blocks=2, attention_factors=(2, 4), head_channels=16, out_channels=6
)


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, resblock_updown=False, heads=4, out_channels=3, attention_factors=(4,))],
    ids=["256 px flags", "library defaults"],
)
def test_published_weights_compute_the_same_function(config: UNetConfig) -> None:
    published = Published(config)
    unet = UNet(config).eval()
    unet.load_state_dict(from_guided(published.state, config))
    x, t = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 870])
    with torch.no_grad():
        torch.testing.assert_close(unet(x, t), published(x, t), rtol=1e-4, atol=1e-4)


def test_the_attention_order_matters() -> None:
    published = Published(CONFIG, new_order=True)
    unet = UNet(CONFIG).eval()
    unet.load_state_dict(from_guided(published.state, CONFIG))
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([100])
    with torch.no_grad():
        assert not torch.allclose(unet(x, t), published(x, t), atol=1e-3)


def test_the_public_256_px_model_has_all_our_names_and_shapes() -> None:
    """Base 256 with the published flags: 552.8 M parameters, on no memory at all."""
    config = UNetConfig(base=256, out_channels=6)
    names = Published(replace(CONFIG, multipliers=config.multipliers, attention_factors=config.attention_factors)).state
    with torch.device("meta"):
        unet = UNet(replace(config, base=32))
    found = from_guided(
        {name: value.to("meta") for name, value in names.items()}, replace(config, base=32, head_channels=16)
    )
    assert found.keys() == unet.state_dict().keys()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_of_both_kinds_are_read(suffix: str, tmp_path: Path) -> None:
    state, path = Published(CONFIG).state, tmp_path / f"model{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    read = read_weights(path)
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_half_precision_is_widened() -> None:
    state = {name: value.half() for name, value in Published(CONFIG).state.items()}
    assert {value.dtype for value in from_guided(state, CONFIG).values()} == {torch.float32}


def test_weights_of_another_configuration_say_so() -> None:
    state = Published(CONFIG).state
    with pytest.raises(CheckpointError, match=r"names too many.*missing.*resample"):
        from_guided(state, replace(CONFIG, resblock_updown=False))
    with pytest.raises(CheckpointError, match="names too many"):
        from_guided(state, replace(CONFIG, attention_factors=(4,)))
    with pytest.raises(CheckpointError, match=r"\(6, 32, 3, 3\) in the published.*is the variance learned"):
        from_guided(state, replace(CONFIG, out_channels=3))
    with pytest.raises(CheckpointError, match="check its base width"):
        from_guided(state, replace(CONFIG, base=64))
    with pytest.raises(CheckpointError, match="conditioned on classes"):
        from_guided(state | {"label_emb.weight": torch.zeros(10, 128)}, CONFIG)
    with pytest.raises(CheckpointError, match=r"1 names too many .surprise.weight"):
        from_guided(state | {"surprise.weight": torch.zeros(1)}, CONFIG)


class Spy:
    """Runs code when it is unpickled, as a hostile file would."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("opened",)


def test_files_that_could_run_code_or_are_broken_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(CheckpointError, match="no weights at"):
        read_weights(path)
    torch.save({"weights": Spy()}, path)
    with pytest.raises(CheckpointError, match="more than tensors"):
        read_weights(path)
    assert "opened" not in capsys.readouterr().out
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="no state dict"):
        read_weights(path)
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"\x10\x00\x00")
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(broken)
