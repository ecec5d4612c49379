"""Pictures for eyes: the preview of a result, plots, pages of overlays.

Slides, labels, nuclei or figures go in, a PNG comes out. ``drawing`` holds the strokes, scales and
letters that all of them share. Read ``slide_pictures`` first, of which preview and report are made.
"""
