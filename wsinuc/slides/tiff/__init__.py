"""Any TIFF, read here: which image is the slide, how its samples become RGB, which claims are
refused.

``directories`` bounds what a file claims, ``layout`` chooses image and levels, ``samples`` says how
they are stored, ``reader`` reads. Read ``reader`` first.
"""
