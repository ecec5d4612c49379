"""The class of every pixel, before any nucleus is separated.

Scores of a segmenter go in, and a map of classes comes out: what methods that segment without
instances are compared by, and what says how much of a tissue is covered by nuclei of a class. Read
``verdict`` first, which decides; ``classes`` says what the values of a map are called, ``image``
draws the maps of a slide's blocks into the label image ``semantic``.
"""
