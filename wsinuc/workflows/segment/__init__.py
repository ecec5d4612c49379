"""One slide to one result.

``plan.prepare`` opens slide and model and makes every check that can fail early;
``run.segment_slide`` makes the blocks, gives ids, renders, exports and writes the summary;
``events`` are what it reports meanwhile. Read ``run`` first.
"""
