"""Which pixels of a set are looked at: patches, crops, windows, parts of a set, other resolutions.

Images go in; pieces come out whose number alone, with the seed, decides what they show. Read
``crops`` first, which trainings draw from.
"""
