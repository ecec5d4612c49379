"""Models on disk: safetensors with a JSON header in, built networks out.

A header comes from a stranger, so ``header`` checks types and ranges and ``weights`` compares every shape
before memory is taken; nothing is unpickled. Each other module builds what one kind of file describes.
Read ``checkpoint`` first.
"""
