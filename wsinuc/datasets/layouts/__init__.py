"""One module for each way in which annotated sets are published.

A folder or archive goes in, ``LabelledImage`` one by one comes out. Each module holds subclasses of
``datasets.base.Layout``; read ``folder`` first, the plainest of them.
"""
