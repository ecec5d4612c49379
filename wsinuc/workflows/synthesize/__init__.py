"""Trained generators to a data set of labelled images.

``layouts`` says where nuclei lie, ``nudiff`` and ``cosyn`` make the samples, ``folder`` is the data
set that is written, resumable. Read ``run`` first.
"""
