"""Annotated images to generators of labelled images: Nudiff (method B) and joint co-synthesis
(method C).

Read ``nudiff`` or ``cosyn``; the ``config`` files hold settings and presets, the ``report`` files
draw pages of samples.
"""
