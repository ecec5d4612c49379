"""The guts of each command, without its options: files in, files out."""
