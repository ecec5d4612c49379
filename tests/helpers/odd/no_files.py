"""What stands where a file is expected and is none, and tables that are no CSV."""

from __future__ import annotations

import os
import socket
from pathlib import Path

NO_FILES = {
    "pipe": "is a named pipe",
    "socket": "is a socket",
    "device": "is a device",
    "folder": "is a directory",
    "circle": "cannot be read (Too many levels of symbolic links)",
    "missing": "no such file",
}
"""Kind -> what is said of it."""


def make_no_file(kind: str, folder: Path, name: str = "x") -> Path:
    """Something of that kind under a name in a folder."""
    path = folder / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # the address of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
        os.fchdir(here)
        os.close(here)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(name)
    return path


ODD_TABLES = {
    "utf-16": "name,x\na,1\n".encode("utf-16"),
    "latin-1": "name,x\n\xb5,1\n".encode("latin-1"),
    "a field without end": b'name,x\n"' + b"a" * 200_000,
    "no line end": b"a," * 200_000,
}
"""Name -> bytes of a file that no reader of tables may take."""
