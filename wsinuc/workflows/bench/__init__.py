"""The stages of a run, apart and together, each against the ceiling of this machine. Read ``run``
first.
"""
