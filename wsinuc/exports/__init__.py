"""Views of the table of nuclei for other programs and for eyes: QuPath's GeoJSON and the preview picture."""
