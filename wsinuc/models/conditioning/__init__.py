"""What tells a generator what to draw: text, as vectors and tokens, and points of nuclei."""
