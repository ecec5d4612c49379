"""``wsinuc evaluate``: a model, or label images, against annotation.

Options and a data set go in; figures are printed and written. Read `command` first; `series` measures at
several resolutions or thresholds.
"""

from wsinuc_cli.commands.evaluate.command import evaluate

__all__ = ["evaluate"]
