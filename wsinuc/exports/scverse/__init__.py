"""Results as the objects of scverse: AnnData and SpatialData.

A finished result goes in; an object, or the file or Zarr store that holds it, comes out. Their
packages are extras and are imported on first use. Nuclei are held in memory, about 1.5 kB each for
AnnData and 4 kB for SpatialData; images are not. Read ``table`` first: SpatialData holds the same
table beside shapes and labels.
"""
