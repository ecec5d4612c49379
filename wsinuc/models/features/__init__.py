"""From images to features and from features to verdicts.

``extractor`` takes the activations of a frozen denoiser, ``ensemble`` classifies pixels by them (method A),
``views`` repeats that for a tile that is turned and moved; ``nucleus_classifier`` gives whole nuclei their classes,
``image_vectors`` compares sets of images. Read ``extractor`` first.
"""
