"""One module for each way in which annotated sets are published; each is a subclass of
``datasets.base.Layout``.
"""
