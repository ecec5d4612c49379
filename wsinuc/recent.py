"""What was used last, as much of it as there is room for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by key, up to a number of bytes; those asked for longest ago go first. Safe to share between threads.

    Examples
    --------
    >>> held = Recent[str](budget=2)
    >>> for letter in "abc":
    ...     held.keep(letter, letter.upper(), size=1)
    >>> held.get("a"), held.get("c"), held.bytes
    (None, 'C', 2)
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._held: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Held now."""
        return self._bytes

    def get(self, key: Hashable) -> Value | None:
        """The value of ``key``, if it is still held."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def keep(self, key: Hashable, value: Value, size: int) -> None:
        """Hold a value of ``size`` bytes, unless one of that key is held or there is not so much room at all."""
        with self._lock:
            if key in self._held or size > self.budget:
                return
            self._held[key] = value, size
            self._bytes += size
            while self._bytes > self.budget:
                self._bytes -= self._held.popitem(last=False)[1][1]
