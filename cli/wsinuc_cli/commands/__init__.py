"""The commands: NAME of ``wsinuc NAME`` is the object NAME of the module or package NAME in here.

Words of the command line go in; a call of the workflow that does the work, and what is printed of
its result, come out. `wsinuc_cli.main` imports a command when it is used, and a command imports its
workflow inside functions, so that help is instant. `status` is the shortest to read, `segment` the
one that does most.
"""
