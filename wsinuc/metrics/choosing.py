"""By which figure one candidate is chosen over another on annotated images: AJI, and where no nucleus is, a share.

AJI of an image without an annotated nucleus is 1 where nothing is found and 0 where a single pixel is. In a mean over a
few images such a step outweighs all that is learned of the others. To choose by, an image without nuclei is scored as
if it also showed as many as the others do, all of them found exactly: its AJI is then n / (n + f), where f is the share
of its pixels that are falsely taken for nuclei, and n the share that are nuclei in the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from wsinuc.metrics.segmentation import aji


@dataclass(frozen=True, slots=True)
class Judged:
    """What a candidate makes of one image."""

    aji: float
    annotated: float
    """Share of the pixels that are annotated as nuclei."""
    found: float
    """Share of the pixels that are taken for nuclei."""

    @classmethod
    def of(
        cls,
        truth: NDArray[np.integer],
        predicted: NDArray[np.integer],
        ignore: NDArray[np.bool_] | None = None,
    ) -> Judged:
        """Two label images ``(h, w)`` from which the nuclei that do not count are gone, and the pixels that do not."""
        return cls(aji(truth, predicted), nuclear_share(truth, ignore), nuclear_share(predicted, ignore))

    def merit(self, usual: float) -> float:
        """AJI, or for an image without nuclei what is said above; 0 to 1.

        Parameters
        ----------
        usual
            Share of nuclei in the images that show some, see `usual_share`; 0 leaves the AJI as it is.

        Examples
        --------
        >>> Judged(aji=0.0, annotated=0.0, found=0.05).merit(usual=0.2)
        0.8
        >>> Judged(aji=0.6, annotated=0.1, found=0.05).merit(usual=0.2)
        0.6
        """
        if self.annotated or not usual:
            return self.aji
        return usual / (usual + self.found)


def nuclear_share(labels: NDArray[np.integer], ignore: NDArray[np.bool_] | None = None) -> float:
    """Share of the pixels ``(h, w)`` that count which belong to a nucleus, 0 where none counts.

    Examples
    --------
    >>> nuclear_share(np.array([[0, 7, 7, 0]]), np.array([[True, False, False, False]]))
    0.6666666666666666
    """
    pixels = labels.size if ignore is None else labels.size - np.count_nonzero(ignore)
    return float(np.count_nonzero(labels) / max(1, pixels))


def usual_share(annotated: Iterable[float]) -> float:
    """Mean share of nuclei in the images that show some; 0 where none does.

    Examples
    --------
    >>> usual_share([0.25, 0.0, 0.75])
    0.5
    """
    shares = [share for share in annotated if share]
    return sum(shares) / len(shares) if shares else 0.0


def mean_merit(judged: Iterable[Judged]) -> float:
    """Mean merit of images, each counting the same; there must be one at least.

    Examples
    --------
    >>> mean_merit([Judged(aji=0.6, annotated=0.2, found=0.2), Judged(aji=0.0, annotated=0.0, found=0.05)])
    0.7
    """
    images = list(judged)
    usual = usual_share(image.annotated for image in images)
    return fsum(image.merit(usual) for image in images) / len(images)
