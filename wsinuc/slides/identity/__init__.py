"""Which slide is this: a hash over samples of all its files, and of every level's directory. Read
``fingerprint``.
"""
