"""Is every file of a result what was written.

A folder or URL goes in, finished or not; the files that are missing or changed come out. Read
``run``.
"""
