"""A segmenter, or label images, against annotation: annotated images in, figures, tables and pages
out.

``predictions`` come by the path of ``segment`` or from files, ``figures`` counts and adds up,
``files`` writes. Read ``run`` first.
"""
