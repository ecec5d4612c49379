"""Nuclei counted and measured by regions that somebody drew and named.

Results and files of annotations go in, figures for each region come out: classes and their densities, medians of
measurements, nuclei by their distance from the region's border. Read ``run``, then ``drawn`` for what counts as a
region.
"""
