"""Means between pixels: what the quick forms give is what the plain ones say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional

from wsinuc.models.networks.smoothing import HalvingMean, folded_blur

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def mean(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(x, 4, stride=2, padding=1, count_include_pad=False)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 5), st.sampled_from([torch.float32, torch.bfloat16]))
def test_half_the_resolution_is_the_mean_of_what_lies_around(
    height: int, width: int, channels: int, dtype: torch.dtype
) -> None:
    x = torch.randn(2, channels, 2 * height, 2 * width, generator=torch.Generator().manual_seed(height)).to(dtype)
    x = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(HalvingMean()(x), mean(x))


def test_the_mean_can_be_learned_through() -> None:
    x = torch.randn(1, 3, 12, 8, requires_grad=True)
    ours, expected = (torch.autograd.grad(form(x).square().sum(), x)[0] for form in (HalvingMean(), mean))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_a_blur_before_folding_is_the_filter_along_rows_and_columns(fold: int) -> None:
    x = torch.randn(2, 3, 6 * fold, 4 * fold)
    blurred = ndimage.correlate1d(x.numpy(), BINOMIAL, 2, mode="constant")
    blurred = ndimage.correlate1d(blurred, BINOMIAL, 3, mode="constant")
    expected = functional.pixel_unshuffle(torch.from_numpy(blurred), fold)
    torch.testing.assert_close(folded_blur(x, 5, fold), expected, atol=1e-6, rtol=1e-5)


def test_without_a_filter_squares_are_folded_as_they_are() -> None:
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(folded_blur(x, 1, 2), functional.pixel_unshuffle(x, 2))
