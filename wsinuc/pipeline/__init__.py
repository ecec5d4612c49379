"""How one block is made, and how many are made at once; the only home of Dask.

A slide's view, a box and a segmenter go in; the nuclei that the block owns come out, scored,
separated and measured. ``block`` is that pure function and the file to read first, ``run`` keeps a
fixed number of jobs alive, ``executor`` says which processes and machines carry them out.
"""
