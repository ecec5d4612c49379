"""Which fragments are one nucleus, learned.

Annotated images and a model go in, the model with a learned rule comes out. Read ``run``; ``cost``
is what ``--dry-run`` tells.
"""
