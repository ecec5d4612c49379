"""Packages that only some exports need, with an error that says how to install them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from wsinuc.errors import ConfigError


def require(module: str, extra: str, purpose: str) -> Any:
    """A module of an optional package.

    Parameters
    ----------
    module
        Its name, as it is imported.
    extra
        The extra of wsinuc that installs it.
    purpose
        What it is needed for, in a few words.

    Raises
    ------
    ConfigError
        The package, or one that it needs, is not installed or does not work.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs the package {module} ({error}): pip install 'wsinuc[{extra}]'") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what libraries warn of in their own files: nobody who exports can act on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
