"""Names in a result."""

OUTPUTS = ("nuclei", "labels.ome.zarr", "nuclei.geojson", "nuclei.geojson.gz", "nuclei.geojson.zip", "preview.png")
SUMMARY = "summary.json"
