"""A result whose nuclei somebody corrected in QuPath and exported again, as something to learn from.

What goes in: the folder of a result and a GeoJSON file. `detections` has the nuclei as QuPath was given them,
`returned` goes through what came back, `overlap` says which drawn outline stands for which nucleus, and `changes` adds
it up: what was deleted, edited, added or given a class, and in which regions that counts as the truth. Read
`changes` first. `wsinuc.datasets.layouts.corrected` makes a data set of it.
"""
