"""What generated images are made from and of, without PyTorch: structures, layouts of nuclei, prompts, separation."""
