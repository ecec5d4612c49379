"""What the channels of a segmenter's scores hold.

Scores are uint8, so that levels are quantised the same way everywhere. Channels, in this order:

====================  =======================================================================
0                     probability that the pixel is nucleus, 255 = certain
1                     disagreement of the ensemble (Jensen-Shannon / log 2), 255 = most
2 .. 2 + classes - 1  probability of each class, in the order of ``classes``
the rest              private to the segmenter: what ``separate`` needs (centre distance, H/V)
====================  =======================================================================
"""

from __future__ import annotations

FOREGROUND = 0
"""Channel of the probability that a pixel is nucleus."""
DISAGREEMENT = 1
"""Channel of the disagreement of the ensemble."""
FIRST_CLASS = 2
"""Channel of the first class."""
