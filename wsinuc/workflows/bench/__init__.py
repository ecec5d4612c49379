"""The stages of a run, apart and together, each against the ceiling of this machine.

A slide (or one made by ``synthetic_slide``) and a model go in; times, rates and their ceilings come
out. Read ``run`` first.
"""
