"""A result whose nuclei somebody corrected in QuPath and exported again, as something to learn from.

What goes in: the folder of a result and a GeoJSON file. `detections` has the nuclei as QuPath was given them,
`returned` goes through what came back, `overlap` says which drawn outline stands for which nucleus, `changes` adds up
what was deleted, edited, added or given a class, and `correction` says in which regions that counts as the truth. Read
`correction` first. `wsinuc.datasets.layouts.corrected` makes a data set of it.
"""
