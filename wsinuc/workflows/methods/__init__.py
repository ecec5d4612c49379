"""Annotated images and settings to a checkpoint of kind segmenter, by the method that the settings are of.

``train`` is what `wsinuc.train` and the command of that name call; the methods themselves are in
`wsinuc.workflows.train`.
"""
