"""``wsinuc segment``: slides become tables, label images and files for QuPath.

Options go in; a run of `wsinuc.workflows.cohort`, shown while it goes on, comes out. Read `command`
first; `texts` has the lines that it prints, `time_estimate` how long a run will take.
"""

from wsinuc_cli.commands.segment.command import segment

__all__ = ["segment"]
