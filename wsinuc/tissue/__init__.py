"""Where the tissue is: which blocks are worth reading, and which nuclei a user wants.

``find_tissue`` looks for it, ``load_tissue`` takes a user's mask, ``whole`` takes everything. A ``Region`` is a user's
region of interest, exact to the level-0 pixel. Read ``mask`` first, which all of these give.
"""

from wsinuc.tissue.find import find_tissue
from wsinuc.tissue.load import load_tissue
from wsinuc.tissue.mask import TissueMask, whole
from wsinuc.tissue.region import Region, load_region

__all__ = ["Region", "TissueMask", "find_tissue", "load_region", "load_tissue", "whole"]
