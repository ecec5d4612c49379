"""A slide that cannot decode one spot."""

from __future__ import annotations

from wsinuc.grid import Box
from wsinuc.slides.array import ArraySlide


class Fragile(ArraySlide):
    """Cannot decode one spot, and like OpenSlide fails everywhere once it has failed, until it is opened afresh."""

    spot = Box(60, 60, 61, 61)

    def _open(self):
        return {"levels": super()._open(), "dead": False}

    def _decode(self, handle, box, level):
        if handle["dead"] or box.overlaps(self.spot):
            handle["dead"] = True
            raise OSError("bad tile")
        return super()._decode(handle["levels"], box, level)
