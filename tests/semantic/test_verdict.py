"""Which class a pixel has: the argmax of a softmax, the majority of ballots, the class branch of HoVer-Net."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.oracle import CLASSES, OracleSegmenter
from wsinuc.models.diffusion.gaussian import GaussianDiffusion
from wsinuc.models.diffusion.schedules import named_betas
from wsinuc.models.features.ensemble import EnsembleConfig, PixelClassifierEnsemble, Votes
from wsinuc.models.features.extractor import FeatureConfig, FeatureExtractor
from wsinuc.models.networks.unet import UNet, UNetConfig
from wsinuc.models.pixels import to_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters.ddpm import DdpmConfig, DdpmSegmenter, majority_probabilities
from wsinuc.semantic.classes import UNCLASSIFIED, map_classes, pixel_map, with_nuclei
from wsinuc.semantic.verdict import class_map, nucleus_map
from wsinuc.separation.settings import WatershedSettings


def quantised(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities ``(1 + classes, ...)`` as the channels of scores."""
    stack = np.concatenate([1 - probabilities[:1], np.zeros_like(probabilities[:1]), probabilities[1:]])
    return np.rint(255 * stack).astype(np.uint8)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, (4, 5, 6), elements=st.floats(-3, 3, width=32)))
def test_of_a_softmax_it_is_the_argmax(logits):
    p = np.exp(logits) / np.exp(logits).sum(0)
    ranked = np.sort(p, axis=0)
    # Levels of 1 / 255 decide alike where the first two lie farther apart than they.
    clear = ranked[-1] - ranked[-2] > 3 / 255
    np.testing.assert_array_equal(class_map(quantised(p), 3)[clear], p.argmax(0)[clear])


@settings(max_examples=20, deadline=None)
@given(arrays(np.int64, (10, 5, 6), elements=st.integers(0, 3)))
def test_of_ballots_it_is_the_majority_and_the_smallest_of_equals(verdicts):
    ballots = torch.from_numpy(np.stack([(verdicts == c).mean(0) for c in range(4)]))[None]
    votes = Votes(ballots, ballots, ballots[:, 0], ballots[:, :1])
    published = torch.from_numpy(verdicts).mode(0).values.numpy()
    scores = quantised(majority_probabilities(votes)[0].numpy())
    np.testing.assert_array_equal(class_map(scores, 3), published)


@pytest.mark.parametrize("vote", ["majority", "mean"])
def test_pixel_classifiers_on_diffusion_features_give_their_verdict(vote):
    torch.manual_seed(0)
    shape = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
    features = FeatureConfig(timesteps=(50,), blocks=(1, 2))
    unet = UNet(shape)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    channels = FeatureExtractor(unet, GaussianDiffusion(named_betas("linear")), features).channels
    ensemble = PixelClassifierEnsemble(
        EnsembleConfig(channels=tuple(channels.items()), classes=4, maps=1, members=5, hidden=8, inner=8)
    )
    for parameter in ensemble.parameters():
        torch.nn.init.normal_(parameter)
    three = tuple(NucleusClass(name, (0, 0, 0)) for name in "abc")
    config = DdpmConfig(
        unet=shape,
        features=features,
        ensemble=ensemble.config,
        watershed=WatershedSettings(mpp=0.5),
        separation="distance",
        classes=three,
        tile=128,
        vote=vote,
    )
    segmenter = DdpmSegmenter(config, unet, ensemble, device=torch.device("cpu"))
    tile = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    found = pixel_map(segmenter, segmenter.predict(tile)[0])
    with torch.inference_mode():
        votes = segmenter.ensemble.vote(segmenter.extractor(to_network(tile, segmenter.device)), margin=32)
    ranked = votes.probabilities[0].sort(0, descending=True).values
    clear = np.ones(found.shape, bool) if vote == "majority" else (ranked[0] - ranked[1] > 3 / 255).numpy()
    expected = votes.majority[0] if vote == "majority" else votes.probabilities[0].argmax(0)
    np.testing.assert_array_equal(found[clear], expected.numpy()[clear])
    assert clear.mean() > 0.5
    assert len(np.unique(found)) == 4


@pytest.mark.parametrize(
    ("foreground", "classes", "expected"),
    [
        (200, (90, 40), 1),  # a branch of its own says nucleus: the classes share that
        (130, (90, 80), 0),  # neither of two doubtful classes is as probable as background
        (128, (255, 0), 1),
        (127, (255, 0), 0),
        (255, (0, 0), 1),
        (255, (7, 7), 1),
    ],
)
def test_by_hand(foreground, classes, expected):
    scores = np.array([foreground, 0, *classes], np.uint8)[:, None, None]
    assert class_map(scores, 2).tolist() == [[expected]]


def test_one_class_is_nucleus_from_one_half():
    scores = np.array([[[127, 128]], [[0, 0]], [[3, 200]]], np.uint8)
    assert class_map(scores, 1).tolist() == nucleus_map(scores).tolist() == [[0, 1]]


class Naming(OracleSegmenter):
    """Names whole nuclei."""

    def classify(self, labels, scores):
        return scores


def test_models_that_name_nuclei_leave_their_classes_to_the_nuclei():
    scores = np.array([[[255, 255, 0]], [[0, 0, 0]], [[0, 0, 0]], [[255, 255, 0]]], np.uint8)
    assert pixel_map(OracleSegmenter(), scores).tolist() == [[2, 2, 0]]
    assert pixel_map(Naming(), scores).tolist() == [[1, 1, 0]]
    assert with_nuclei(pixel_map(Naming(), scores), np.array([[2, 0, 2]]), 3).tolist() == [[2, 3, 0]]
    assert map_classes(OracleSegmenter()) == CLASSES
    assert [each.name for each in map_classes(Naming())] == ["round", "long", UNCLASSIFIED]
    odd = Naming(classes=(NucleusClass(UNCLASSIFIED, (1, 1, 1)),))
    assert len({each.name for each in map_classes(odd)}) == 2
