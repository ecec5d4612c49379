"""What a process owes to others when it ends: locks, scratch folders.

Blocks of ``with`` give these back when the stack unwinds. A process that is told to end and has no time for
that (a batch system kills it within seconds, a thread hangs on a network disk) calls ``give_all_back`` and
goes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

# One for the process: a signal handler knows of nothing else.
_owed: dict[object, Callable[[], object]] = {}


def owe(give_back: Callable[[], object]) -> object:
    """Remember how something is given back; returns what ``settle`` takes when it has been."""
    debt = object()
    _owed[debt] = give_back
    return debt


def settle(debt: object) -> None:
    """Forget something that has been given back."""
    _owed.pop(debt, None)


def give_all_back() -> None:
    """Give back all that is owed, what came last first; what fails is left."""
    # The last first, as nested blocks would: a lock outlives what is done under it.
    for debt, give_back in reversed(list(_owed.items())):
        with suppress(Exception):
            give_back()
        settle(debt)
