"""Names and texts from files as they may be shown to people: on terminals, in logs, in tables and on pages.

File names, headers of slides, class names and messages of other libraries may hold escape
sequences, line breaks, or marks that turn the direction of text. Shown as they are, they steer a
terminal, forge a line or break a file that must be UTF-8.
"""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # hold emoji and letters of some scripts together
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def shown(text: object, keep: str = "") -> str:
    """Text on one line that is valid Unicode, with everything that would be obeyed instead of shown written out.

    Parameters
    ----------
    text
        Anything; ``str`` of it is shown.
    keep
        Control characters that stay what they are.

    Examples
    --------
    >>> print(shown("a\\x1b[2Jb\\nc\\u202e"), shown("sl\\udcffide.png"))
    a\\x1b[2Jb\\nc\\u202e sl\\xffide.png
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(char if char in keep or _is_shown(char) else _written_out(char) for char in plain)


def _is_shown(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in _UNSHOWN


def _written_out(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
