"""HoVer-Net: its size against a count by hand, its geometry, and that its tiles agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsinuc.errors import ConfigError
from wsinuc.models.networks.hovernet import HoVerNet, HoVerNetConfig

TINY = HoVerNetConfig(classes=2, width=1 / 16)


def counted_by_hand(outputs: list[int]) -> int:
    """Parameters of the published network, written down layer by layer as (kernel area * inputs / groups * outputs)."""
    bn = 2  # scale and shift per channel
    encoder = 7 * 7 * 3 * 64 + bn * 64
    inputs = 64
    for middle, wide, units in ((64, 256, 3), (128, 512, 4), (256, 1024, 6), (512, 2048, 3)):
        first = inputs * middle + 9 * middle * middle + middle * wide + bn * 2 * middle + inputs * wide
        later = bn * wide + wide * middle + 9 * middle * middle + middle * wide + bn * 2 * middle
        encoder += first + (units - 1) * later + bn * wide
        inputs = wide
    encoder += 2048 * 1024

    def dense(width: int, units: int) -> int:
        total = 0
        for _ in range(units):
            total += bn * width + width * 128 + bn * 128 + 9 * 128 // 4 * 32
            width += 32
        return total + bn * width

    decoder = 9 * 1024 * 256 + dense(256, 8) + 512 * 512
    decoder += 9 * 512 * 128 + dense(128, 4) + 256 * 256
    decoder += 9 * 256 * 64 + bn * 64
    return encoder + sum(decoder + 64 * count + count for count in outputs)


@pytest.mark.parametrize(("classes", "outputs"), [(2, [2, 2]), (6, [2, 2, 6])])
def test_parameters_of_the_published_network(classes: int, outputs: list[int]) -> None:
    with torch.device("meta"):
        network = HoVerNet(HoVerNetConfig(classes=classes))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == counted_by_hand(outputs)
    assert round(count / 1e6, 2) == {2: 33.63, 6: 37.64}[classes]


def test_of_256_pixels_164_are_left() -> None:
    with torch.device("meta"):
        out = HoVerNet(HoVerNetConfig(classes=6))(torch.zeros(1, 3, 256, 256))
    assert out.classes.shape == (1, 6, 164, 164)
    assert out.maps.shape == out.nuclei.shape == (1, 2, 164, 164)


def test_one_class_has_no_decoder_of_its_own() -> None:
    network = HoVerNet(TINY).eval()
    assert set(network.decoders) == {"nuclei", "maps"}
    out = network(torch.zeros(1, 3, 96, 104)).float()
    assert out.classes is out.nuclei
    assert out.maps.shape == (1, 2, 4, 12)


def test_output_pixels_lie_where_their_input_lies() -> None:
    """A pixel of the output is most sensitive to the input 46 px further on: no crop is off."""
    network = HoVerNet(TINY).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 0.01)
    x = torch.rand(1, 3, 136, 136, requires_grad=True)
    network(x).maps[0, 0, 16:24, 16:24].sum().backward()
    weight = x.grad.abs().sum((0, 1))
    centre = (weight.sum(1) * torch.arange(136)).sum() / weight.sum()
    assert abs(float(centre) - (46 + 19.5)) < 4  # strided convolutions look half a coarse pixel to one side


@pytest.mark.parametrize("side", [92, 88, 100])
def test_sizes_that_do_not_fit_are_refused(side: int) -> None:
    with pytest.raises(ConfigError, match="multiples of 8 above 92"):
        HoVerNet(TINY)(torch.zeros(1, 3, side, side))


def test_moved_input_moves_the_output() -> None:
    """Far from the border, by a multiple of the stride: crops and skips are aligned with each other
    and with the input."""
    torch.manual_seed(0)
    network = HoVerNet(TINY).eval()
    plane = torch.from_numpy(np.random.default_rng(0).random((1, 3, 344, 336), np.float32))
    with torch.no_grad():
        whole, moved = network(plane[..., :336, :]), network(plane[..., 8:, :])
    keep = 112 - network.lost
    first, second = (out.maps[..., keep:-keep, keep:-keep] for out in (whole, moved))
    torch.testing.assert_close(first[..., 8:, :], second[..., :-8, :], rtol=1e-4, atol=1e-5)


def test_narrow_networks_keep_their_groups() -> None:
    assert HoVerNetConfig(classes=2, width=0.25).scaled(64) == 16
    assert HoVerNetConfig(classes=2, width=1 / 16).scaled(32) == 4
    with pytest.raises(ConfigError, match="two maps"):
        HoVerNetConfig(classes=2, maps=1)
    with pytest.raises(ConfigError, match="2 classes or more"):
        HoVerNetConfig(classes=1)
