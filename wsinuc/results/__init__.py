"""A finished result as an object in memory: what `wsinuc.read` returns.

The folder of a result goes in; its table, images and slide come out as the objects of other packages,
each imported when it is asked for. ``read`` is the file to read.
"""
