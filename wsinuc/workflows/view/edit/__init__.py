"""Training windows: areas of a result in which every outline is right, because somebody has looked at it.

Areas and strokes that were drawn on the page go in; out comes ``slide.regions.geojson`` beside the result, which
``wsinuc train slide.wsinuc=slide.regions.geojson`` reads and QuPath opens. ``windows`` is the file to read first;
``shapes`` is the geometry, ``first`` finds the nuclei that a new window begins with.
"""
