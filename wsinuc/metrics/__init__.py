"""Numbers that say how good a segmentation is; arrays in, numbers out."""
