"""Many slides by one command: a list of slides in, a result for each and a table of all out.

``slide_list`` says which slides, ``run.segment_cohort`` works on two at a time, ``state`` and
``records`` keep what is known of each, ``status`` looks on from outside. Read ``run`` first.
"""
