"""Is every file of a result what was written: a result in, findings out. Read ``run``."""
