"""PyTorch's island: networks, diffusion, features, conditioning, training and checkpoints.

Arrays and tensors go in and come out; no slide, no storage and no files but checkpoints and training
states. Images are floats in [-1, 1] here and nowhere else (``pixels`` takes them across). ``networks`` are
modules without any other state; ``diffusion`` knows no network, a denoiser is any callable; ``checkpoints``
say which network a file holds. Read ``networks.unet`` and ``diffusion.gaussian`` first.
"""
