"""A segmenter and a few nuclei with classes to a segmenter that names classes.

Points in, a classifier of whole nuclei out, with its scores on held-out images. Read ``run`` first.
"""
