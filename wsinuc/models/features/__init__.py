"""From images to features and from features to verdicts: a frozen denoiser's activations, pixel
classifiers, classifiers of nuclei.
"""
