"""The command line over the library: click only, and nothing heavy is imported before it is needed.

`main` is the group and its table of commands; each command is a file or a small package of
`commands`. What commands share stands apart: `options` they have in common and how options become
settings, `help` with its headings and defaults, `progress` of runs and trainings, `texts` that
several of them print. Read `main` first, then `commands.status`, which is short.
"""
