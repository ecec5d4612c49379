"""Which slide is this, although nobody reads all its gigabytes.

A path or URL goes in; a hash over samples of all its files, and over every level's directory,
comes out. Read ``fingerprint`` first.
"""
