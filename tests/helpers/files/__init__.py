"""Files of every kind that are written to be read: slides, annotations, data sets, checkpoints."""
