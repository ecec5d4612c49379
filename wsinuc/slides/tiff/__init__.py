"""Any TIFF, read here: which image is the slide, how its samples become RGB, which claims are
refused.

``walk`` follows the directories, ``directories`` bounds what they claim, ``layout`` chooses image and
levels, ``samples`` says how they are stored, ``reader`` reads. Read ``reader`` first.
"""
