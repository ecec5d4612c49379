"""What is found, as an object in memory: what `wsinuc.read` and `wsinuc.segment_image` return.

The folder of a result goes into ``read``, the arrays of a segmented image into ``image``; tables, pictures and the
slide come out as the objects of other packages, each imported when it is asked for. ``read`` is the file to read.
"""
