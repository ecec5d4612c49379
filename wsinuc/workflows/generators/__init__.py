"""Annotated images to generators of labelled images: Nudiff (method B) and joint co-synthesis
(method C), and to what reads the prompts of the latter.

Read ``nudiff``, ``cosyn`` or ``text_encoder``; the ``config`` files hold settings and presets, the ``report`` files
draw pages of samples.
"""
