"""A synthetic data set against a real one: patches of both in, distances with their floors, tables
and pages out.

Read ``run`` first; ``patches`` says what is measured of an image, ``distances`` how two sets are
compared.
"""
