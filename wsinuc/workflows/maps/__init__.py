"""A result as a map: how many nuclei, of which class and what kind, in each square of a grid over the slide.

The table goes in part by part (``grid``), a ``NucleiMap`` comes out, and ``files`` writes it as TIFF or
OME-Zarr, ``picture`` as PNG over the slide. Read ``run`` first.
"""
