"""Options that several commands share, and how options become settings.

Values of the command line go in; paths, images and frozen configs come out. Read `common` first;
`workers` says where the work is done, `images` chooses annotated images, and `overlay` lays the
options that were given over a preset.
"""
