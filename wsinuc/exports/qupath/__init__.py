"""The table as GeoJSON that QuPath opens, and QuPath's rules, by which any GeoJSON is checked."""
