"""Numbers that say how good a segmentation is; arrays in, numbers out.

Label images go in, or points, maps of classes, probabilities with verdicts, and vectors of whole images;
counts of several images add up with ``+`` and are divided once. What a formula leaves open (nothing annotated,
a class that occurs nowhere) each module settles at its top. Read ``segmentation`` first: the table of overlaps
that it makes of two label images is what ``panoptic`` and the evaluation go on from.
"""
