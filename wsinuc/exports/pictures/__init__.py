"""Pictures for eyes: the preview of a result, plots, pages of overlays."""
