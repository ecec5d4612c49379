"""PyTorch's island: networks, the diffusion process, training and checkpoints; arrays in, arrays out."""
