"""The guts of each command, without its options: one package per capability.

A workflow opens files, runs the pipeline and writes results; the command line turns options into
its settings and shows what it reports. Packages are layered: one imports only those below it
(``pyproject.toml`` has the order, import-linter checks it). Read ``segment.run`` first.
"""
