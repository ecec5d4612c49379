"""One loop for every training: its state on disk, the processes that share a step, and losses."""
