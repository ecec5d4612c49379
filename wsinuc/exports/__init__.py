"""Views of the table of nuclei for other programs and for eyes.

Parts of the table go in, in the order of ids, and a file comes out that exists whole or not at all
(``atomic``). ``qupath`` writes GeoJSON; ``pictures`` draws the preview, plots and contact sheets;
``report`` makes the page for people. Read ``qupath.geojson`` first; it is the shortest way from
``Nuclei`` to a file.
"""
