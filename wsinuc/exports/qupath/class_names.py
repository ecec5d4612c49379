"""Which names of classes QuPath takes as they are; asked by plans too, which load nothing that writes polygons."""

from __future__ import annotations

from collections.abc import Iterable

from wsinuc.errors import DataError


def check_class_names(names: Iterable[str]) -> None:
    """Raise DataError for a class name that QuPath would refuse or misread.

    ``:`` splits a name into two levels of classes, a line break or an empty name make QuPath refuse the file, and
    spaces around a name are cut off.
    """
    for name in names:
        if not name.strip() or name != name.strip() or ":" in name or len(name.splitlines()) > 1:
            raise DataError(
                f"class name {name!r} would be refused or misread by QuPath: "
                "use a name without ':', line breaks or spaces around it"
            )
