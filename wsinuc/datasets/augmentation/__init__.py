"""What another laboratory, another cut or a denser tissue would have shown.

Images with annotation go in, the same come out, changed by a random generator that the caller
gives. Read ``augment`` first; the other files each add one kind of change.
"""
