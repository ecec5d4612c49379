"""Networks that see whole images: what they are called, that nothing but the image matters, and
which files they refuse."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wsinuc.errors import CheckpointError, ConfigError
from wsinuc.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from wsinuc.models.checkpoints.denoisers import denoiser_config
from wsinuc.models.checkpoints.file_header import file_sha256
from wsinuc.models.features.image_vectors import DenoiserNetwork, InceptionNetwork, load_feature_network
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.segmenters import FEATURES

TINY = UNetConfig(base=32, multipliers=(1, 2), res_blocks=1, attention_factors=(), middle_attention=False)


def write_denoiser(path: Path, kind: str = "denoiser") -> Path:
    torch.manual_seed(0)
    unet = UNet(TINY)
    config = {**denoiser_config(unet), "mpp": 0.25}
    save_checkpoint(Checkpoint(kind=kind, config=config, provenance={}, tensors=unet.state_dict()), path)
    return path


def images(n: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)


def test_a_denoiser_says_what_it_is(tmp_path):
    path = write_denoiser(tmp_path / "denoiser.safetensors")
    network = load_feature_network(path)
    assert network.name == f"denoiser:{file_sha256(path)[:12]}"
    assert "no Inception" in network.description
    assert (network.mpp, network.width) == (0.25, 64)
    seen = network(images(17))
    assert seen.vectors.shape == (17, network.width)
    assert seen.probabilities is None
    assert network(images(0)).vectors.shape == (0, network.width)


def test_the_same_image_gives_the_same_vector(tmp_path):
    network = load_feature_network(write_denoiser(tmp_path / "denoiser.safetensors"))
    several = images(18)
    np.testing.assert_allclose(network(several).vectors[17:], network(several[17:]).vectors, atol=1e-5)
    np.testing.assert_array_equal(network(several).vectors, network(several).vectors)


def test_sides_that_the_network_cannot_halve(tmp_path):
    with pytest.raises(ConfigError, match="multiples of 2 px, got 31 x 31"):
        load_feature_network(write_denoiser(tmp_path / "denoiser.safetensors"))(images(1, 31))


def test_the_shipped_model_has_a_denoiser():
    network = load_feature_network(FEATURES)
    assert isinstance(network, DenoiserNetwork)
    assert network.mpp == 0.25
    assert np.isfinite(network(images(2, 32)).vectors).all()


def test_blur_and_stain_move_features_the_more_the_stronger():
    from scipy.ndimage import gaussian_filter

    from wsinuc.metrics.distributions import frechet_distance

    network = load_feature_network(FEATURES)
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.standard_normal((8, 32, 32, 3)), (0, 1, 1, 0))
    plain = np.clip(170 + 120 * noise, 0, 255)
    vectors = lambda values: network(np.clip(np.rint(values), 0, 255).astype(np.uint8)).vectors  # noqa: E731
    seen = vectors(plain)
    blurred = [frechet_distance(seen, vectors(gaussian_filter(plain, (0, s, s, 0)))) for s in (0.5, 2)]
    stained = [frechet_distance(seen, vectors(256 * (plain / 256) ** power)) for power in (1.1, 2)]
    assert 0 < blurred[0] < blurred[1]
    assert 0 < stained[0] < stained[1]


class FakeInception(torch.nn.Module):
    """torch-fidelity's contract in small: unpickles what it is given, uint8 images in, features and logits out."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert features_list == ["2048", "logits_unbiased"]
        assert isinstance(feature_extractor_weights_path, io.BytesIO)  # never the user's file
        self.fc = torch.nn.Linear(2048, 1008)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x):
        assert x.dtype == torch.uint8
        vectors = x.float().mean(dim=(2, 3)).repeat(1, 683)[:, :2048]
        return vectors, vectors @ self.fc.weight.T / 1e4


@pytest.fixture
def fidelity(monkeypatch):
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FakeInception
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_inception_weights_from_either_file(tmp_path, fidelity, suffix):
    path, weights = (
        tmp_path / f"inception{suffix}",
        torch.nn.ModuleDict({"fc": torch.nn.Linear(2048, 1008)}).state_dict(),
    )
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    network = load_feature_network(path)
    assert isinstance(network, InceptionNetwork)
    assert network.name.startswith("inception:")
    seen = network(images(3))
    assert seen.vectors.shape == (3, 2048)
    np.testing.assert_allclose(seen.probabilities.sum(1), 1, rtol=1e-5)
    assert network(images(0)).probabilities.shape == (0, 1008)


def test_inception_of_other_shapes(tmp_path, fidelity):
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="weights of another network"):
        load_feature_network(tmp_path / "other.pth")


def test_the_real_inception(tmp_path, monkeypatch):
    """Random weights, the real network: what the file must hold and what comes out."""
    try:
        import torch_fidelity.feature_extractor_inceptionv3 as module
    except Exception as error:
        pytest.skip(f"torch-fidelity is not here: {error}")
    real = module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(real, "load_state_dict", lambda self, state: None)
        random = real("inception-v3-compat", ["2048"])
    torch.save(random.state_dict(), tmp_path / "inception.pth")
    seen = load_feature_network(tmp_path / "inception.pth")(images(2, 64))
    assert seen.vectors.shape == (2, 2048)
    assert seen.probabilities.shape == (2, 1008)


def test_without_torch_fidelity(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    torch.save({"a": torch.zeros(1)}, tmp_path / "inception.pth")
    with pytest.raises(ConfigError, match=r"pip install 'wsinuc\[fid\]'"):
        load_feature_network(tmp_path / "inception.pth")


class Evil:
    def __reduce__(self):
        return (Path("executed").touch, ())


def test_files_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    write_denoiser(tmp_path / "other.safetensors", kind="nudiff-image")
    for name, reason in {
        "evil.pth": "no file of weights alone",
        "list.pth": "more than named tensors",
        "text.pth": "no file of weights alone",
        "text.safetensors": "no file of weights alone",
        "other.safetensors": "holds a nudiff-image",
        "missing.pth": "no feature network",
    }.items():
        with pytest.raises(CheckpointError, match=reason) as caught:
            load_feature_network(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()
