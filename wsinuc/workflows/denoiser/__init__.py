"""Unlabelled images to a checkpoint of kind denoiser: the pre-training of methods A and D.

Read ``run`` first; ``config`` holds settings and presets, ``report`` says what a training will take
and draws its samples.
"""
