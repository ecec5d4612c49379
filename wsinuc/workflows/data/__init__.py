"""Images to learn from: data sets and slides in, annotated images and sources of patches out.

``training_set`` gathers annotation, ``sources`` unlabelled pixels, ``subset`` chooses a few patches
that stand for all, ``info`` says what a data set holds. Read ``training_set`` first.
"""
