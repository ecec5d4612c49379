"""Which fragments are one nucleus: annotated images and a model in, the model with a learned rule
out. Read ``run``.
"""
