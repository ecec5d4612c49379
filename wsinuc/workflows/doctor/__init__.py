"""Will it work on this machine, and how fast; what do the readers see in a slide: checks in,
findings with remedies out.

Read ``run`` first.
"""
