"""What generated images are made from, without PyTorch: structures, layouts of nuclei, prompts.

Label images go in; out come the maps that generators are trained on (``structures`` for method B,
``distance_map`` and ``layouts`` for method C) and, from a fitted point process, layouts of nuclei that
nobody has seen. How instances come back out of generated maps is in `wsinuc.separation.generated`.
Read ``structures`` first, and ``layouts`` for method C.
"""
