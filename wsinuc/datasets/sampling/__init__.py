"""Which pixels of a set are looked at: patches, crops, windows, parts of a set, other resolutions."""
