"""A finished result in the form in which another program takes it.

The folder of a result goes in, and a file or folder comes out that exists whole or not at all.
``registry`` is the table of formats and the file to read first; ``write`` checks what was asked for and
calls the one function of a format. ``geoparquet``, ``csv`` and ``geojson`` hold a few parts of the table
at a time, so their memory does not grow with the slide.
"""
