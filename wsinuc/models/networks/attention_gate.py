"""The additive attention gate of the Attention U-Net (Oktay et al. 2018): what of a skip connection is let through.

A U-Net hands features of its way down to its way up. The gate weighs each place of them by what the
coarser level, which has seen more of the surroundings, makes of that place: in the paper's notation

    q = psi^T relu(W_x^T x + W_g^T g + b_g) + b_psi        (Equation 1)
    alpha = sigmoid(q),    x' = alpha x                      (Equation 2)

with features x of F_l channels, the gating signal g of F_g channels, and F_int channels between. All
transformations are 1 x 1 convolutions; x is brought to the grid of g, and alpha back to that of x by
linear interpolation. The skip of the finest level is not gated, as published, because its features
do not yet say what they show.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class AttentionGate(nn.Module):
    """Features ``(n, features, 2 h, 2 w)`` and the level below ``(n, gating, h, w)`` to weighted features.

    Parameters
    ----------
    features
        Channels of the skip connection, F_l.
    gating
        Channels of the coarser level, F_g.
    between
        F_int; the authors take F_l.
    """

    def __init__(self, features: int, gating: int, between: int) -> None:
        super().__init__()
        # Every second pixel: the grid of the gating signal.
        self.of_features = nn.Conv2d(features, between, 1, stride=2, bias=False)
        self.of_gating = nn.Conv2d(gating, between, 1)
        self.weight = nn.Conv2d(between, 1, 1)

    def forward(self, x: Tensor, gating: Tensor) -> Tensor:
        """``x`` times a weight between 0 and 1 for each of its places."""
        joined = functional.relu(self.of_features(x) + self.of_gating(gating))
        alpha = self.weight(joined).sigmoid()
        return x * functional.interpolate(alpha, scale_factor=2, mode="bilinear")
