"""What is shown while work goes on: bars on a terminal, plain lines elsewhere, or nothing.

Events of a workflow go in; bars and lines on stderr come out. Read `slide` first; `cohort` shows
several slides at once, `training` a training.
"""
