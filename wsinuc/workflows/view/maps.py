"""Maps that were looked at last, within a bound of memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from wsinuc.recent import Recent
from wsinuc.workflows.view.tiles.map_choice import MapChoice
from wsinuc.workflows.view.tiles.map_layer import MapLayer, map_layer
from wsinuc.workflows.view.tiles.style import Paint

MAP_BYTES = 64 * 2**20
"""Room for maps."""


@dataclass
class MapLayers:
    """Maps of one result. Safe to share between threads."""

    _maps: Recent[MapLayer] = field(default_factory=lambda: Recent[MapLayer](MAP_BYTES))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def layer(self, paint: Paint, choice: MapChoice, view_shape: tuple[int, int], version: int) -> MapLayer:
        """A map; ``version`` changes when the classes of ``paint`` do. Raises as `map_layer` does."""
        key = (choice, paint.style, version)
        # One at a time: a page asks for a dozen tiles of a new map at once.
        with self._lock:
            layer = self._maps.get(key)
            if layer is None:
                layer = map_layer(paint, choice, view_shape)
                self._maps.keep(key, layer, layer.nbytes)
        return layer
