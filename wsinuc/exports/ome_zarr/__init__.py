"""OME-NGFF, which napari, QuPath and SpatialData open: arrays, what describes them, the slide's own pixels.

A label image hangs below an image of the same extent. ``slide_copy`` writes that image from a view of
the slide and gives a ``Canvas``, which says what it wrote; `render` puts the labels below it;
``export`` writes a finished result anew, in another version or with other pixels. ``metadata`` knows
both versions of the format. Read ``metadata`` first.
"""
