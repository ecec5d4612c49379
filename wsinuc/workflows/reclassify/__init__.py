"""A few nuclei with a class, and finished results, to the classes of all their nuclei; no pixel is read for it.

Results and files of labels in; classes, their cross-validated scores, the nuclei to label next, results with the
new classes, or a model out. ``learn`` is the file to read first, and needs no file to be written: ``read_marks`` reads
labels, ``learn_classes`` learns and scores, ``Learned.classify`` names the nuclei of a part.
"""
