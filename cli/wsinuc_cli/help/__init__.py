"""What ``--help`` shows: options under headings, each with its default.

The options of a command go in; its help comes out, without importing what would run the command.
Read `sections` first; `stated_defaults` reads the defaults from the file beside it, which
``python -m wsinuc_cli.config_defaults`` writes.
"""
