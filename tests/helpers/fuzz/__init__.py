"""Every parser of files from outside, how its files are damaged, and what counts as a fault."""
