"""Texts that several commands print: lengths of time, the cost of a training, the next command.

Figures and paths go in; lines for people come out. `next_command` is the longest, and says how a
user goes on where a training ends.
"""
