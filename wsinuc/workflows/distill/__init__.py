"""Teachers and unlabelled tissue to a small network that answers as they do.

``patches`` keeps what the teachers say of each patch, ``run.distill`` trains the ``student`` on
disturbed crops of these, and ``agreement`` says how like its teachers it is. Read ``run`` first.
"""
