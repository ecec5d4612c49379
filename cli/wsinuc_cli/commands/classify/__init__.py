"""``wsinuc classify``: classes of nuclei from a few labels.

Either labelled images go in and a model comes out, or finished results and labels of some of their
nuclei go in and the classes of all come out (`results`). Read `command` first.
"""

from wsinuc_cli.commands.classify.command import classify

__all__ = ["classify"]
