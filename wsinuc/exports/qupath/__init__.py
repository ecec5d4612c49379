"""The table as GeoJSON that QuPath opens, and QuPath's rules, by which any GeoJSON is checked.

``geojson`` takes parts of the table and writes a file, ``check`` takes a file and yields findings;
both follow ``rules``, which says what QuPath does with each member. Read ``geojson`` first.
"""
