"""What was used last, as much of it as there is room for."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from operator import itemgetter
from typing import Generic, TypeVar

from cachetools import LRUCache

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by key, up to a number of bytes; those asked for longest ago go first. Safe to share between threads.

    Parameters
    ----------
    budget
        Most bytes that all values together may have.

    Examples
    --------
    >>> letters = Recent[str](budget=2)
    >>> for letter in "abc":
    ...     letters.keep(letter, letter.upper(), size=1)
    >>> letters.get("a"), letters.get("c")
    (None, 'C')
    """

    def __init__(self, budget: int) -> None:
        # A pair of value and size, because an array's size is not what it holds alone: views share their memory.
        self._pairs: LRUCache[Hashable, tuple[Value, int]] = LRUCache(budget, getsizeof=itemgetter(1))
        # cachetools leaves locking to its callers, and even reading changes the order.
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value of ``key``, if it is still held."""
        with self._lock:
            pair = self._pairs.get(key)
        if pair is None:
            return None
        return pair[0]

    def keep(self, key: Hashable, value: Value, size: int) -> None:
        """Hold a value of ``size`` bytes, unless one of that key is held or there is not so much room at all."""
        with self._lock:
            if key not in self._pairs and size <= self._pairs.maxsize:
                self._pairs[key] = (value, size)
