"""Pictures of squares of a slide: its pixels, and its nuclei as transparent tiles.

A result's table, a style and the place of a tile go in, pixels come out; nothing here opens a file. ``pyramid`` says
which part of the slide a tile shows, ``style`` which nuclei in which colours; ``nuclei`` draws and is the file to read
first.
"""
