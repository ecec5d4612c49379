"""A slide read by a process of its own, so that a file that makes a library abort, loop or eat
memory costs that slide alone.

``isolated`` is the slide that the rest of wsinuc sees, ``session`` a slide that is open in one of
the ``processes``, ``reader_process`` the other side, ``messages`` what goes between. Read
``isolated`` first.
"""
