"""Scores to instances, without PyTorch: floods, contacts, the joining of fragments, and the targets
that networks learn.

Scores are uint8 maps, labels are int32 with 0 for background. Read ``watershed`` first;
``generated`` separates the maps that generators draw, ``targets`` and ``soft_targets`` go the other
way, from instances to what a network is taught.
"""
